"""A worker that counts what it is given: for metrics, and to say which step it was when one fails."""

from pagelet_engine.core.step import Step, StepHandle, Worker


class MeteredWorker:
    """Passes every step on to `worker`."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._tokens = 0
        self.last_step = 0
        """Number of the last step submitted."""

    def submit(self, step: Step) -> StepHandle:
        self.last_step = step.number
        self._tokens += step.num_tokens
        return self._worker.submit(step)

    def take_tokens(self) -> int:
        """Tokens submitted since the last call."""
        tokens, self._tokens = self._tokens, 0
        return tokens
