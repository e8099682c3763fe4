"""Which InferenceService is reconciled next, and when: coalesced, one at a time each, with back-off.

`Backlog` decides and knows no clock but the one it is told; `WorkQueue` waits. Knows neither what a key names nor what
is done with it.
"""

import asyncio
import contextlib
import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

FIRST_BACK_OFF_S = 0.25
LONGEST_BACK_OFF_S = 60.0


class Backlog(Generic[K]):
    """Keys in one of four states: idle, due at a time, ready, running; a running key may be ready or due again.

    A key is ready at most once and runs at most once at a time. Ready keys are taken in the order in which they became
    ready, so one that is added all the time delays no other by more than one turn.
    """

    def __init__(self, random_fraction: Callable[[], float] = random.random) -> None:
        self._random_fraction = random_fraction
        self._ready: deque[K] = deque()
        self._wanted: set[K] = set()  # ready, or to be made ready when its run ends
        self._running: dict[K, float] = {}
        self._due: dict[K, float] = {}
        self._timetable: list[tuple[float, int, K]] = []  # a heap; entries that _due contradicts are void
        self._order = itertools.count()
        self._failures: dict[K, int] = {}

    def add(self, key: K) -> None:
        """As soon as possible; once more after its run if it runs just now."""
        if key not in self._wanted:
            self._wanted.add(key)
            if key not in self._running:
                self._ready.append(key)

    def add_at(self, key: K, time_s: float) -> None:
        """At `time_s`, unless it is due earlier already."""
        if time_s < self._due.get(key, float("inf")):
            self._due[key] = time_s
            heapq.heappush(self._timetable, (time_s, next(self._order), key))

    def take(self, now_s: float) -> K | None:
        """The next key to run now; None: nothing to do."""
        while self._timetable and self._timetable[0][0] <= now_s:
            time_s, _, key = heapq.heappop(self._timetable)
            if self._due.get(key) == time_s:
                del self._due[key]
                self.add(key)
        if not self._ready:
            return None
        key = self._ready.popleft()
        self._wanted.discard(key)
        # A run looks at everything anew, so whatever was planned for later is planned again after it.
        self._due.pop(key, None)
        self._running[key] = now_s
        return key

    def succeeded(self, key: K) -> None:
        self._failures.pop(key, None)
        self._ended(key)

    def failed(self, key: K, now_s: float) -> float:
        """It runs again after a while, longer from failure to failure. Returns that while in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        longest_s: float = min(LONGEST_BACK_OFF_S, FIRST_BACK_OFF_S * 2 ** min(failures, 30))
        delay_s = longest_s * (0.5 + 0.5 * self._random_fraction())
        self._ended(key)
        if key in self._wanted:
            # News came while it failed. It waits like any other failure, or a busy key would be retried without pause.
            self._ready.remove(key)
            self._wanted.discard(key)
        if self._due.get(key, float("inf")) <= now_s:
            del self._due[key]  # the same, planned for a moment that has come meanwhile
        self.add_at(key, now_s + delay_s)
        return delay_s

    def abandoned(self, key: K) -> None:
        """Its run was broken off, and is as if it had not begun."""
        self._ended(key)
        self.add(key)

    def next_due_s(self) -> float | None:
        """When the next key becomes ready by itself."""
        while self._timetable and self._due.get(self._timetable[0][2]) != self._timetable[0][0]:
            heapq.heappop(self._timetable)
        return self._timetable[0][0] if self._timetable else None

    @property
    def depth(self) -> int:
        """Keys that wait for a turn now."""
        return len(self._wanted)

    @property
    def running(self) -> dict[K, float]:
        """Keys that run, and since when."""
        return dict(self._running)

    def _ended(self, key: K) -> None:
        del self._running[key]
        if key in self._wanted:
            self._ready.append(key)


class WorkQueue(Generic[K]):
    """A Backlog whose `get` waits. Belongs to one event loop; its time is the loop's."""

    def __init__(self, backlog: Backlog[K] | None = None) -> None:
        self.backlog = backlog or Backlog()
        self._news = asyncio.Event()

    def add(self, key: K) -> None:
        self.backlog.add(key)
        self._news.set()

    def add_after(self, key: K, delay_s: float) -> None:
        self.backlog.add_at(key, _now_s() + delay_s)
        self._news.set()

    async def get(self) -> K:
        """Wait for a key to run. Each must be answered by `succeeded`, `failed` or `abandoned`."""
        while (key := self.backlog.take(_now_s())) is None:
            self._news.clear()
            due_s = self.backlog.next_due_s()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), None if due_s is None else max(0, due_s - _now_s()))
        return key

    def succeeded(self, key: K) -> None:
        self.backlog.succeeded(key)
        self._news.set()

    def failed(self, key: K) -> float:
        """It runs again after a while; returns that while in seconds."""
        delay_s = self.backlog.failed(key, _now_s())
        self._news.set()
        return delay_s

    def abandoned(self, key: K) -> None:
        self.backlog.abandoned(key)
        self._news.set()

    @property
    def longest_run_s(self) -> float:
        """For how long the key that began first has been running; 0: none runs."""
        return max((_now_s() - since for since in self.backlog.running.values()), default=0.0)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
