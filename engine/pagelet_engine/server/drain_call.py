"""A drain that a client asked for: whether the stop that should follow it is overdue.

A Drain call is the first half of a replacement: its caller stops the engine next. An engine that was drained and
then forgotten would serve no client for ever. Pure but for the clock.
"""

import math
from collections.abc import Callable

STOP_WITHIN_S = 30.0
"""From the drain's end to the signal that stops the engine: an orchestrator sends it at once, a person within this."""


class DrainCall:
    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._begun_s: float | None = None
        self._ends_s = math.inf

    def begin(self, timeout_s: float | None) -> None:
        """A client drains the engine. A second call changes nothing: it could put the restart off for ever."""
        if self._begun_s is None:
            self._begun_s = self._clock_s()
            if timeout_s is not None:
                self._ends_s = self._begun_s + timeout_s

    def forgotten_s(self, in_flight: int) -> float:
        """Seconds since the call, once the stop is overdue; 0 before. Asked every few seconds."""
        if self._begun_s is None:
            return 0.0
        now_s = self._clock_s()
        if not in_flight:
            self._ends_s = min(self._ends_s, now_s)
        return now_s - self._begun_s if now_s > self._ends_s + STOP_WITHIN_S else 0.0
