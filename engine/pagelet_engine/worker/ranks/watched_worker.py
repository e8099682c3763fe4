"""A worker whose steps the watch knows of: that of rank 0."""

from collections.abc import Mapping
from dataclasses import dataclass

from pagelet_engine.core.step import Sampled, Step, StepHandle, Worker
from pagelet_engine.worker.ranks.watch import Watch


class WatchedWorker:
    """Passes every step on to `worker`."""

    def __init__(self, worker: Worker, watch: Watch) -> None:
        self._worker, self._watch = worker, watch

    def submit(self, step: Step) -> StepHandle:
        self._watch.begin(step.number)
        return WatchedStep(step.number, self._worker.submit(step), self._watch)


@dataclass(frozen=True, slots=True)
class WatchedStep:
    number: int
    handle: StepHandle
    watch: Watch

    def result(self) -> Mapping[int, Sampled]:
        results = self.handle.result()
        self.watch.end(self.number)
        return results
