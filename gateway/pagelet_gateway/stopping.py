"""Stop strings: finds the first to appear in text that arrives piece by piece. Pure.

Owns what may be shown already and what must be held back. Knows no tokens.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Emitted(NamedTuple):
    text: str
    """What can be shown now: it is part of no stop string, whatever follows."""
    matched: str | None
    """The stop string that was found; the text before it is in `text`, nothing more will follow."""


class StopMatcher:
    """Emits text up to the stop string whose *last* character comes first (of several, the longest).

    That is what reading character by character gives, so the result does not depend on how the text is split.
    `include`: the stop string itself is emitted too.
    """

    def __init__(self, stops: Sequence[str], *, include: bool = False) -> None:
        assert all(stops), "an empty stop string matches everywhere"
        self._stops = tuple(stops)
        self._include = include
        self._held = ""
        # Held text ends with a character that a stop string has before its last: usually one look settles it.
        self._continuing = frozenset(character for stop in stops for character in stop[:-1])
        self._longest = max(map(len, stops), default=0)

    def feed(self, text: str) -> Emitted:
        buffer = self._held + text
        match = self._first_match(buffer)
        if match is not None:
            start, end = match
            self._held = ""
            return Emitted(buffer[: end if self._include else start], buffer[start:end])
        held = self._held_length(buffer)
        if not held:
            self._held = ""
            return Emitted(buffer, None)
        self._held = buffer[-held:]
        return Emitted(buffer[:-held], None)

    def flush(self) -> str:
        """The text held back, when nothing more will come."""
        held, self._held = self._held, ""
        return held

    def _first_match(self, buffer: str) -> tuple[int, int] | None:
        matches = [(start + len(stop), start) for stop in self._stops if (start := buffer.find(stop)) >= 0]
        if not matches:
            return None
        end, start = min(matches)
        return start, end

    def _held_length(self, buffer: str) -> int:
        """Length of the longest end of `buffer` with which a stop string may begin."""
        if not buffer or buffer[-1] not in self._continuing:
            return 0
        for length in range(min(self._longest - 1, len(buffer)), 0, -1):
            end = buffer[-length:]
            if any(stop.startswith(end) for stop in self._stops):
                return length
        return 0
