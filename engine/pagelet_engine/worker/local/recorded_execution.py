"""A recorded forward pass, replayed in every step by one call: the CPU's CUDA graph."""

from collections.abc import Sequence
from ctypes import POINTER, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pagelet_engine.core.step import Segment
from pagelet_engine.kernels.cpu.abi import GroupStep, Step
from pagelet_engine.kernels.cpu.library import NativeBackend
from pagelet_engine.kernels.cpu.tape import Program
from pagelet_engine.worker.kv_pool import KvPool
from pagelet_engine.worker.local.sampling_ops import NativeSampling
from pagelet_engine.worker.local.slots import Slots
from pagelet_engine.worker.results import Drawn


class RecordedExecution:
    """Implements `execution.Execution`. Memory for a step's logits is touched by as many rows as want them."""

    def __init__(self, native: NativeBackend, program: Program, pool: KvPool, slots: Slots, max_rows: int) -> None:
        self._native, self._program, self._slots = native, program, slots
        self.sampling = NativeSampling(native)
        self._logits = torch.empty(max_rows, slots.vocab_size, dtype=torch.float32)
        self._tokens = torch.zeros(max_rows, dtype=torch.int64)
        self._sound = torch.zeros(max_rows, dtype=torch.bool)
        self._last_token = slots.last_token.numpy()
        self._num_rows = 0
        self._groups = (GroupStep * len(pool.groups))(
            *(
                GroupStep(table.ctypes.data, table.shape[1], pool.block_size, group.window or 0)
                for table, group in zip(slots.block_tables, pool.groups, strict=True)
            )
        )
        self._step = Step(
            groups=cast(self._groups, POINTER(GroupStep)),
            num_groups=len(self._groups),
            argmax=self._tokens.data_ptr(),
            is_sound=self._sound.data_ptr(),
        )

    def run(self, segments: Sequence[Segment], rows: Sequence[int], wants_logits: bool) -> None:
        step = self._step
        layout = np.array([(each.start, each.num_tokens, each.slot) for each in segments], np.int64).T.copy()
        token_ids = self._token_ids(segments, layout)
        sampled = np.array(rows, np.int64)
        step.num_tokens, step.num_sequences, step.num_sampled = len(token_ids), len(segments), len(rows)
        step.token_ids, step.sampled_rows = token_ids.ctypes.data, sampled.ctypes.data
        step.starts, step.lengths, step.slots = (row.ctypes.data for row in layout)
        step.logits = self._logits.data_ptr() if wants_logits else None
        self._num_rows = len(rows)
        self._native.run(self._program.whole, len(self._program.whole), step)

    def likeliest(self) -> Drawn:
        return Drawn(self._tokens[: self._num_rows].clone(), self._sound[: self._num_rows].clone())

    def logits(self) -> Tensor:
        return self._logits[: self._num_rows]

    def logits_of(self, rows: Sequence[int]) -> Tensor:
        assert len(rows) <= len(self._logits), f"{len(rows)} rows at once, recorded for {len(self._logits)}"
        sampled = np.array(rows, np.int64)
        step = self._step
        step.num_sampled, step.sampled_rows, step.logits = len(rows), sampled.ctypes.data, self._logits.data_ptr()
        self._native.run(self._program.head, len(self._program.head), step)
        return self._logits[: len(rows)]

    def _token_ids(self, segments: Sequence[Segment], layout: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(tokens,): those that the segments name, and each slot's last one where they name none."""
        last: npt.NDArray[np.int64] = self._last_token[layout[2]]
        if not any(segment.tokens for segment in segments):
            return last
        own = zip(segments, last.tolist(), strict=True)
        return np.array([token for segment, token_id in own for token in segment.tokens or (token_id,)], np.int64)
