"""A recorded forward pass, replayed in every step by one call: the CPU's CUDA graph."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pagelet_engine.core.step import Segment
from pagelet_engine.kernels.cpu.abi import Step
from pagelet_engine.kernels.cpu.library import NativeBackend, OpList
from pagelet_engine.kernels.cpu.tape import Program
from pagelet_engine.worker.kv_pool import KvPool
from pagelet_engine.worker.local.sampling_ops import NativeSampling
from pagelet_engine.worker.local.slots import Slots
from pagelet_engine.worker.local.step_buffers import StepBuffers
from pagelet_engine.worker.results import Drawn


class RecordedExecution:
    """Implements `execution.Execution`."""

    def __init__(
        self,
        native: NativeBackend,
        program: Program,
        pool: KvPool,
        slots: Slots,
        *,
        max_tokens: int,
        max_prompt_rows: int,
        poisons: bool = False,
    ) -> None:
        """program: recorded for at most so many tokens, and for a row of logits per slot or, if that is more, so many
        rows of prompts at once. poisons: see StepBuffers; hidden states, too."""
        self.max_prompt_rows = max_prompt_rows
        self._native, self._program, self._poisons = native, program, poisons
        self.sampling = NativeSampling(native)
        self._last_token = slots.last_token.numpy()
        self._num_rows = 0
        self._buffers = StepBuffers(
            slots.block_tables,
            [group.window or 0 for group in pool.groups],
            pool.block_size,
            max_tokens=max_tokens,
            max_rows=max(slots.num_slots, max_prompt_rows),
            vocab_size=slots.vocab_size,
            poisons=poisons,
        )

    def run(self, segments: Sequence[Segment], rows: Sequence[int], wants_logits: bool) -> None:
        sequences = np.array([(each.start, each.num_tokens, each.slot) for each in segments], np.int64)
        token_ids = self._token_ids(segments, sequences[:, 2])
        self._num_rows = len(rows)
        if self._poisons:
            self._program.poison()
        self._replay(self._program.whole, self._buffers.fill(token_ids, sequences, rows, with_logits=wants_logits))

    def likeliest(self) -> Drawn:
        count, buffers = self._num_rows, self._buffers
        return Drawn(buffers.tokens[:count].clone(), buffers.status[:count].clone())

    def logits(self) -> Tensor:
        return self._buffers.logits[: self._num_rows]

    def logits_of(self, rows: Sequence[int]) -> Tensor:
        self._replay(self._program.head, self._buffers.fill_rows(rows))
        return self._buffers.logits[: len(rows)]

    def _replay(self, ops: OpList, step: Step) -> None:
        self._native.run(ops, step)
        self._buffers.end()

    def _token_ids(self, segments: Sequence[Segment], slots: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(tokens,): those that the segments name, and each slot's last one where they name none."""
        last: npt.NDArray[np.int64] = self._last_token[slots]
        if not any(segment.tokens for segment in segments):
            return last
        own = zip(segments, last.tolist(), strict=True)
        return np.array([token for segment, token_id in own for token in segment.tokens or (token_id,)], np.int64)
