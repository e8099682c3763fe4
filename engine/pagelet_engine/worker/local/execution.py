"""How the tensors of one step are computed: what the worker asks of it, and the way that runs the model eagerly."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from pagelet_engine.core.step import Segment
from pagelet_engine.models.registry import Model
from pagelet_engine.worker.kv_pool import KvPool
from pagelet_engine.worker.local.assembly import assemble
from pagelet_engine.worker.local.sampler import greedy
from pagelet_engine.worker.local.sampling_ops import SamplingOps, TorchSampling
from pagelet_engine.worker.local.slots import Slots
from pagelet_engine.worker.results import Drawn


class Execution(Protocol):
    """Computes steps in their order. Block tables are up to date when it is called."""

    @property
    def sampling(self) -> SamplingOps:
        """The ops for the logits that it makes."""
        ...

    def run(self, segments: Sequence[Segment], rows: Sequence[int], wants_logits: bool) -> None:
        """Compute the segments' tokens, one segment after the other. rows: the tokens' indices from which one is drawn;
        wants_logits: that the likeliest token of each is not all that is asked of them."""
        ...

    def likeliest(self) -> Drawn:
        """Of the step's rows."""
        ...

    def logits(self) -> Tensor:
        """(rows, vocab) fp32 of the step's rows, which wanted them; valid until the next step."""
        ...

    @property
    def max_prompt_rows(self) -> int:
        """Rows that `logits_of` gives at once, at most."""
        ...

    def logits_of(self, rows: Sequence[int]) -> Tensor:
        """(rows, vocab) fp32 of any of the step's tokens; valid until the next call, which ends `logits()` too."""
        ...


class EagerExecution:
    """Runs the model's forward pass in every step."""

    def __init__(self, model: Model, pool: KvPool, slots: Slots, max_prompt_rows: int) -> None:
        self._model, self._pool, self._slots = model, pool, slots
        self.max_prompt_rows = max_prompt_rows
        self._hidden = self._logits = torch.empty(0)
        self.sampling = TorchSampling()

    def run(self, segments: Sequence[Segment], rows: Sequence[int], wants_logits: bool) -> None:
        self._hidden = self._model(assemble(segments, self._slots, self._pool))
        if rows:
            self._logits = self.logits_of(rows)

    def likeliest(self) -> Drawn:
        return greedy(self._logits)

    def logits(self) -> Tensor:
        return self._logits

    def logits_of(self, rows: Sequence[int]) -> Tensor:
        return self._model.logits(self._hidden[torch.tensor(rows, device=self._slots.device)])
