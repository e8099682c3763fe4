"""The engine's whole loop: schedule → execute → update.

Owns the steps in flight. Refuses to know what a step is decided from, and what executing one means.
"""

import time
from collections import deque
from collections.abc import Callable, Collection

from pagelet_engine.core.kv_events import KvEvent
from pagelet_engine.core.load import LoadSnapshot
from pagelet_engine.core.news import News
from pagelet_engine.core.pace import Pace
from pagelet_engine.core.request import RejectReason, Request, RequestRejected
from pagelet_engine.core.scheduler import Scheduler
from pagelet_engine.core.step import Step, StepHandle, Worker


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
        self._in_flight: deque[tuple[float, Step, StepHandle]] = (
            deque()
        )  # oldest first, with the time of its submission
        self._last_end_s = 0.0
        self._pace = Pace()
        self._turns = 0  # requests that have been seated since a step ended
        self._waits_s: list[float] = []

    def add(self, request: Request) -> None:
        """Queue a request. Raises RequestRejected if it can never fit, its id is taken, the queue is full, or its
        deadline comes before it could be answered."""
        try:
            self._scheduler.judge(request)
        except RequestRejected as rejected:
            if rejected.reason is RejectReason.QUEUE_FULL:
                rejected.retry_after_s = self._pace.retry_s(self._scheduler.num_waiting)
            raise
        self._judge_deadline(request)
        self._scheduler.add(request)

    def _judge_deadline(self, request: Request) -> None:
        if request.deadline_s is None:
            return
        left_s = request.deadline_s - self._clock_s()
        num_before = self._scheduler.num_before(request)
        waiting_s, own_s = self._pace.least_wait_s(num_before), self._scheduler.least_computing_s(request)
        if waiting_s + own_s > left_s:
            raise RequestRejected(
                RejectReason.TOO_LATE,
                f"the answer was wanted within {left_s:.1f} s, but takes at least {waiting_s + own_s:.1f} s: "
                f"{waiting_s:.1f} s for the turns of {num_before} requests before it, {own_s:.1f} s for its tokens; "
                "allow more time, or try again later",
                self._pace.retry_s(num_before),
            )

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
            self._in_flight.append((self._clock_s(), step, self._worker.submit(step)))
        if self._in_flight:
            self._end(*self._in_flight.popleft())
        return self._scheduler.take_news()

    def _end(self, submitted_s: float, step: Step, handle: StepHandle) -> None:
        results = handle.result()
        now_s = self._clock_s()
        # A step that was submitted while another ran has begun when that one ended.
        seconds = now_s - max(submitted_s, self._last_end_s)
        self._scheduler.note_duration(step, seconds)
        self._pace.note(self._turns, seconds)
        self._last_end_s, self._turns = now_s, 0
        self._scheduler.update(results)

    def _note_waits(self) -> None:
        seated = self._scheduler.take_first_seated()
        self._turns += len(seated)
        for request in seated:
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
