"""The engine's whole loop: schedule → execute → update.

Owns the steps in flight. Refuses to know what a step is decided from, and what executing one means.
"""

import time
from collections import deque
from collections.abc import Callable, Collection

from pagelet_engine.core.kv_events import KvEvent
from pagelet_engine.core.load import LoadSnapshot
from pagelet_engine.core.news import News
from pagelet_engine.core.request import Request
from pagelet_engine.core.scheduler import Scheduler
from pagelet_engine.core.step import StepHandle, Worker


class EngineCore:
    """Requests in, tokens out, with up to `depth` steps in flight: 1 on a CPU, 2 where scheduling overlaps a device.

    `clock_s` is the monotonic clock of the requests' deadlines.
    """

    def __init__(
        self, scheduler: Scheduler, worker: Worker, depth: int, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._scheduler = scheduler
        self._worker = worker
        self._depth = depth
        self._clock_s = clock_s
        self._in_flight: deque[StepHandle] = deque()  # oldest first
        self._waits_s: list[float] = []

    def add(self, request: Request) -> None:
        """Queue a request. Raises RequestRejected if it can never fit, its id is taken, or the queue is full."""
        self._scheduler.add(request)

    def abort(self, request_id: str, samples: Collection[int] = ()) -> None:
        """End these samples (none named: all of them); the next step() tells. Unknown and finished ones are ignored."""
        self._scheduler.abort(request_id, samples)

    @property
    def has_work(self) -> bool:
        """Whether step() has anything to do or to tell."""
        return bool(self._in_flight) or self._scheduler.has_work

    def step(self) -> News:
        """Keep `depth` steps in flight, wait for the oldest, and return what has changed since the last call.

        Raises what the worker raised: the engine has ended then.
        """
        self._scheduler.expire(self._clock_s())
        while len(self._in_flight) < self._depth and (step := self._scheduler.schedule()):
            self._note_waits()
            self._in_flight.append(self._worker.submit(step))
        if self._in_flight:
            self._scheduler.update(self._in_flight.popleft().result())
        return self._scheduler.take_news()

    def _note_waits(self) -> None:
        for request in self._scheduler.take_first_seated():
            if request.arrived_s is not None:
                self._waits_s.append(self._clock_s() - request.arrived_s)

    def take_waits_s(self) -> list[float]:
        """How long each request waited that was first computed since the last call."""
        waits_s, self._waits_s = self._waits_s, []
        return waits_s

    def load(self) -> LoadSnapshot:
        return self._scheduler.load()

    def take_kv_events(self) -> list[KvEvent]:
        """Changes of the prefix cache since the last call, oldest first; always empty unless they are recorded."""
        return self._scheduler.take_kv_events()

    def kv_snapshot(self) -> list[KvEvent]:
        """The whole prefix cache as events, beginning with AllBlocksCleared; take_kv_events() continues from here."""
        return self._scheduler.kv_snapshot()

    def check(self) -> None:
        """Prove that nothing is lost, doubled or used too early. Raises AssertionError with a sentence."""
        self._scheduler.check()
