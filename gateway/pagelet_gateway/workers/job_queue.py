"""Which job is next: fair between clients, short before long for one client, within a bound. Pure.

Fair: the client that has been served least, in seconds of work, is next (a virtual clock, as in start-time fair
queueing: a client that comes back begins where the busy ones are). Short before long: jobs have size classes, smaller
ones go first, unless a larger one has waited for `MAX_WAIT_S`.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")

MAX_WAIT_S = 2.0
_SECONDS_PER_BYTE = 1e-6  # a guess until it is known: a megabyte per second
_SECONDS_PER_JOB = 2e-4


@dataclass(slots=True)
class _Waiting(Generic[Item]):
    item: Item
    num_bytes: int
    since_s: float


@dataclass(frozen=True, slots=True)
class Taken(Generic[Item]):
    """A job that a worker has begun."""

    item: Item
    client: str
    charged_s: float


class _Client(Generic[Item]):
    def __init__(self, served_s: float, num_classes: int) -> None:
        self.served_s = served_s
        self.running = 0
        self.waiting: list[deque[_Waiting[Item]]] = [deque() for _ in range(num_classes)]
        """By size class, in order of arrival."""

    @property
    def is_idle(self) -> bool:
        return not self.running and not any(self.waiting)

    def next(self, most: int, now_s: float) -> deque[_Waiting[Item]] | None:
        """The line whose first job is next for a worker that takes size classes up to `most`."""
        lines = [line for line in self.waiting[: most + 1] if line]
        if not lines:
            return None
        oldest = min(lines, key=lambda line: line[0].since_s)
        return oldest if now_s - oldest[0].since_s >= MAX_WAIT_S else lines[0]


class JobQueue(Generic[Item]):
    def __init__(self, size_classes: Sequence[int]) -> None:
        """`size_classes`: the largest body of each, in bytes, ascending."""
        self._size_classes = size_classes
        self._clients: dict[str, _Client[Item]] = {}
        self._clock_s = 0.0
        """What the client that was chosen last had been served."""

    def __len__(self) -> int:
        return sum(len(line) for client in self._clients.values() for line in client.waiting)

    def add(self, item: Item, client: str, num_bytes: int, now_s: float) -> None:
        known = self._clients.get(client)
        if known is None:
            known = self._clients[client] = _Client(self._clock_s, len(self._size_classes))
        size_class = bisect_left(self._size_classes, num_bytes)
        known.waiting[size_class].append(_Waiting(item, num_bytes, now_s))

    def remove(self, item: Item, client: str) -> bool:
        """Forget a job; False where it does not wait."""
        known = self._clients.get(client)
        for line in known.waiting if known is not None else ():
            for waiting in line:
                if waiting.item == item:
                    line.remove(waiting)
                    self._forget_idle(client)
                    return True
        return False

    def take(self, most: int, now_s: float) -> Taken[Item] | None:
        """The next job of a size class up to number `most`; None while there is none."""
        fitting = [
            (known.served_s, client, line)
            for client, known in self._clients.items()
            if (line := known.next(most, now_s)) is not None
        ]
        if not fitting:
            return None
        served_s, client, line = min(fitting, key=lambda each: each[0])
        waiting = line.popleft()
        known = self._clients[client]
        taken = Taken(waiting.item, client, _SECONDS_PER_JOB + waiting.num_bytes * _SECONDS_PER_BYTE)
        known.running += 1
        known.served_s += taken.charged_s
        self._clock_s = max(self._clock_s, served_s)
        return taken

    def ended(self, taken: Taken[Item], took_s: float) -> None:
        """The client is charged what its job took, not what was guessed."""
        known = self._clients[taken.client]
        known.running -= 1
        known.served_s += took_s - taken.charged_s
        self._forget_idle(taken.client)

    def _forget_idle(self, client: str) -> None:
        """A client without work that is behind the clock has nothing to its name; one that is ahead of it is
        remembered while others have work."""
        known = self._clients[client]
        if known.is_idle and known.served_s <= self._clock_s:
            del self._clients[client]
        if all(each.is_idle for each in self._clients.values()):
            self._clients.clear()
