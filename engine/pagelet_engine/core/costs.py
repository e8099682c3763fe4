"""What it costs to compute a token, and to copy a block, on this machine; and which of the two is cheaper. Pure.

Starts from what the worker measured before the first step, and follows what the steps then take.
"""

from dataclasses import dataclass

WEIGHT = 1 / 16
"""Of the latest step, in each average: some dozens of steps are remembered."""
MANY_TOKENS = 64
"""A step with so many more tokens than samples tells by its time what a token of a prompt costs."""

UNFELT_SHARE = 1 / 20
"""Of a step's time: copies that make it longer by so little are not felt."""


@dataclass(frozen=True, slots=True)
class WorkerCosts:
    """What a worker says of itself."""

    copy_s: float
    """Seconds that one block of all KV groups takes between device and host, one way."""
    overlaps: bool
    """Whether copies run beside computations, rather than between them."""


class Costs:
    """Seconds, as far as is known. Until a step has told it, a token costs nothing, so that nothing is copied."""

    def __init__(self, worker: WorkerCosts) -> None:
        self._copy_s = worker.copy_s
        self._overlaps = worker.overlaps
        self.step_s = 0.0
        """Of a step with one token a sample, copies aside; 0 before the first."""
        self.token_s = 0.0
        """What one more token of a prompt adds to a step."""
        self._told = 0  # steps that have told what a token costs

    def note(self, more_tokens: int, num_copies: int, seconds: float) -> None:
        """A step has taken this long: with so many tokens more than one a sample, and so many blocks copied between
        tiers."""
        copying_s = num_copies * self._copy_s
        if self._overlaps and copying_s > seconds / 2:
            return  # who knows what of it was computing
        computing_s = seconds if self._overlaps else max(0.0, seconds - copying_s)
        if more_tokens >= MANY_TOKENS:
            self._told += 1
            token_s = max(0.0, computing_s - self.step_s) / more_tokens
            self.token_s += max(WEIGHT, 1 / self._told) * (token_s - self.token_s)
        elif not more_tokens:
            self.step_s += (WEIGHT if self.step_s else 1.0) * (computing_s - self.step_s)

    def swap_s(self, out: int, back: int, queued: int) -> float:
        """What copying `out` blocks to the host now, and `back` of them later, adds to the steps; `queued` copies are
        planned for this one already."""
        if not self._overlaps:
            return (out + back) * self._copy_s
        # Beside a step, only what exceeds it is felt.
        return self._excess_s(queued + out) - self._excess_s(queued) + self._excess_s(back)

    def recompute_s(self, num_tokens: int) -> float:
        return num_tokens * self.token_s

    def prefers_copies(self, block_size: int) -> bool:
        """Whether a block is fetched from the host in less time than it is computed."""
        return self._copy_s < block_size * self.token_s

    def copies_beside_a_step(self) -> int:
        """How many blocks may be copied in a step's time without being felt much."""
        spare_s = self.step_s * (1 if self._overlaps else UNFELT_SHARE)
        return int(spare_s / self._copy_s) if self._copy_s else 1 << 30

    def _excess_s(self, copies: int) -> float:
        return max(0.0, copies * self._copy_s - self.step_s)
