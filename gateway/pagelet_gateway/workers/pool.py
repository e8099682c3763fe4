"""The worker processes of one gateway: every job to an idle worker that takes its size, a fresh worker for one that
is lost, has grown, or knows too few models. The event loop is never waited for, and never waits.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Self, TypeVar, cast

from pagelet_api.gateway_memory import LANES, Lane

from pagelet_gateway.workers.job import Job, MessageDecoder, Prepared, Refused, decode_outcome
from pagelet_gateway.workers.job_queue import JobQueue, Taken
from pagelet_gateway.workers.launcher import ForkServer, ForkServerLost, WorkerProcess
from pagelet_gateway.workers.limits import JOB_LIMIT_S, ended_its_workers, too_much_time

_log = logging.getLogger(__name__)
_RETRY_S = 1.0
MAX_LOST_WORKERS = 2
"""A job that two workers were lost over is not given to a third."""

Outcome = Prepared | Refused
Result = TypeVar("Result")


class _Waiting:
    """A job, and who awaits its outcome."""

    def __init__(self, job: Job, outcome: "asyncio.Future[Outcome]") -> None:
        self.job = job
        self.outcome = outcome
        self.lost_workers = 0
        """Workers that were lost while they were at it."""

    def end(self, outcome: Outcome) -> None:
        if not self.outcome.done():  # else its client has gone
            self.outcome.set_result(outcome)


class WorkerPool:
    """Entered, it has workers, soon; left, none."""

    def __init__(
        self, server: ForkServer, executor: Executor, lanes: Sequence[Lane] = LANES, job_limit_s: float = JOB_LIMIT_S
    ) -> None:
        """`executor` is for the calls that wait for the fork server."""
        self._server = server
        self._executor = executor
        self._lanes = lanes
        self._job_limit_s = job_limit_s
        self._queue = JobQueue[_Waiting]([lane.max_body_bytes for lane in lanes])
        self._workers: list[_Worker | None] = [None] * len(lanes)
        self._launches: list[asyncio.Task[None] | None] = [None] * len(lanes)
        self._generation = 0
        """Counts the changes of the models: a worker of an earlier one is replaced before its next job."""
        self.lost_workers = 0
        """Workers that ended in the middle of a job, or were ended there."""

    @property
    def waiting(self) -> int:
        """Jobs that no worker has begun."""
        return len(self._queue)

    @property
    def busy(self) -> int:
        """Workers at work."""
        return sum(1 for worker in self._workers if worker is not None and worker.is_busy)

    def __enter__(self) -> Self:
        for index in range(len(self._lanes)):
            self._launch(index)
        return self

    def __exit__(self, *_: object) -> None:
        for launch in self._launches:
            if launch is not None:
                launch.cancel()
        workers, self._workers = self._workers, []
        for worker in workers:
            if worker is not None:
                worker.hang_up()

    async def load(self, files: Mapping[str, bytes], vocab_size: int) -> int:
        """Give every worker a model; returns its number. Raises ForkServerLost."""
        number = await self._in_thread(self._server.load, files, vocab_size)
        self._renew()
        return number

    async def forget(self, numbers: set[int]) -> None:
        await self._in_thread(self._server.forget, numbers)
        self._renew()

    async def run(self, job: Job, client: str) -> Outcome:
        """What a worker makes of the job, in `client`'s turn. Cancelled, the job is not begun, or of no consequence."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(job, loop.create_future())
        self._queue.add(waiting, client, len(job.body), loop.time())
        self._dispatch()
        try:
            return await waiting.outcome
        except asyncio.CancelledError:
            self._queue.remove(waiting, client)
            raise

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        now_s = asyncio.get_running_loop().time()
        for index, worker in enumerate(self._workers):
            if worker is None or not worker.is_idle:
                continue
            if worker.generation != self._generation:
                worker.hang_up()
                self._launch(index)
            elif (taken := self._queue.take(index, now_s)) is not None:
                worker.begin(taken)

    def _renew(self) -> None:
        self._generation += 1
        self._dispatch()

    def _launch(self, index: int) -> None:
        self._workers[index] = None
        self._launches[index] = asyncio.create_task(self._launch_soon(index), name=f"worker {index}")

    async def _launch_soon(self, index: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            generation = self._generation
            try:
                process = await self._in_thread(self._server.fork, self._lanes[index])
                break
            except ForkServerLost as error:
                _log.error("no worker can be started: %s; trying again", error)
                await asyncio.sleep(_RETRY_S)
        worker = _Worker(process, generation, self._job_limit_s, lambda worker: self._ended_job(worker, index))
        await loop.create_connection(lambda: worker, sock=process.socket)
        self._workers[index] = worker
        self._launches[index] = None
        self._dispatch()

    def _ended_job(self, worker: "_Worker", index: int) -> None:
        """The worker has ended a job, or itself."""
        if (ended := worker.take_ended()) is not None:
            taken, took_s, outcome = ended
            self.lost_workers += worker.is_lost
            if outcome is None:
                self._lost_at_work(taken)
            else:
                taken.item.end(outcome)
            self._queue.ended(taken, took_s)
        if worker.is_lost and worker in self._workers:
            self._launch(index)
        else:
            self._dispatch()

    def _lost_at_work(self, taken: Taken[_Waiting]) -> None:
        """Once may be another's fault: a worker that was lost before it began."""
        waiting = taken.item
        waiting.lost_workers += 1
        if waiting.lost_workers >= MAX_LOST_WORKERS:
            waiting.end(Refused(ended_its_workers(), by_field=False))
        elif not waiting.outcome.done():
            now_s = asyncio.get_running_loop().time()
            self._queue.add(waiting, taken.client, len(waiting.job.body), now_s)

    async def _in_thread(self, function: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)


class _Worker(asyncio.Protocol):
    """The gateway's end of one worker: at most one job at a time."""

    def __init__(
        self, process: WorkerProcess, generation: int, limit_s: float, ended: Callable[["_Worker"], None]
    ) -> None:
        """`ended` is called when a job has ended, and when the worker is lost."""
        self.generation = generation
        self.is_lost = False
        self._process = process
        self._limit_s = limit_s
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._decoder = MessageDecoder()
        self._transport: asyncio.Transport | None = None
        self._taken: Taken[_Waiting] | None = None
        self._outcome: Outcome | None = None
        self._begun_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_overdue = False

    @property
    def is_busy(self) -> bool:
        return self._taken is not None

    @property
    def is_idle(self) -> bool:
        return self._taken is None and not self.is_lost and self._transport is not None

    def begin(self, taken: Taken[_Waiting]) -> None:
        assert self._transport is not None, "a worker is used once it is connected"
        self._taken, self._begun_s = taken, self._loop.time()
        self._timer = self._loop.call_later(self._limit_s, self._end_by_force)
        self._transport.write(taken.item.job.encode())

    def take_ended(self) -> tuple[Taken[_Waiting], float, Outcome | None] | None:
        """The job that has ended, the seconds that it took, and what came of it: None when the worker was lost."""
        if self._taken is None or not (self._outcome or self.is_lost):
            return None
        ended = self._taken, self._loop.time() - self._begun_s, self._outcome
        self._taken = self._outcome = None
        return ended

    def hang_up(self) -> None:
        """Let it end after what it does."""
        self.is_lost = True
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not derived from it

    def data_received(self, data: bytes) -> None:
        for header, blob in self._decoder.feed(data):
            self._end(decode_outcome(header, blob))

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost, self._transport = True, None
        self._end(Refused(too_much_time(self._limit_s), by_field=False) if self._is_overdue else None)

    def _end(self, outcome: Outcome | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._taken is not None:
            self._outcome = outcome
        self._ended(self)

    def _end_by_force(self) -> None:
        self._is_overdue = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGKILL)  # its end is seen as that of the connection
