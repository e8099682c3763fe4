"""The arrays that a native step names, and the step that names them: made once, and alive as long as it can be used.

Owns every address in `abi.Step`. Refuses to know what is computed from them.
"""

from collections.abc import Sequence
from ctypes import POINTER, cast

import numpy as np
import numpy.typing as npt
import torch

from pagelet_engine.kernels.cpu.abi import GroupStep, Step
from pagelet_engine.kernels.row_status import RowStatus

IntArray = npt.NDArray[np.int64]

POISON = 0x7F7F7F7F7F7F7F7F
"""As a token, a slot or a position: outside of everything."""


class StepBuffers:
    """Room for steps of at most `max_tokens` tokens, a sequence per slot, and `max_rows` rows of logits, which are
    touched by as many rows as want them."""

    def __init__(
        self,
        block_tables: Sequence[IntArray],
        windows: Sequence[int],
        block_size: int,
        *,
        max_tokens: int,
        max_rows: int,
        vocab_size: int,
        poisons: bool = False,
    ) -> None:
        """block_tables, windows: by KV group; the tables are (slots, blocks), and read as they are when a step runs.

        poisons: what a step was given is overwritten when it has ended, and what an earlier one has computed before the
        next begins; so that whatever looks there too late is seen to do so. For a search after a fault, and for tests.
        """
        self._block_tables = tuple(block_tables)
        num_slots = len(self._block_tables[0])
        self._token_ids = np.zeros(max_tokens, np.int64)
        self._starts, self._lengths, self._slots = self._sequences = np.zeros((3, num_slots), np.int64)
        self._rows = np.zeros(max_rows, np.int64)
        self.logits = torch.empty(max_rows, vocab_size, dtype=torch.float32)
        """(rows, vocab)"""
        self.tokens = torch.zeros(max_rows, dtype=torch.int64)
        """(rows,) the argmax of each row."""
        self.status = torch.zeros(max_rows, dtype=torch.uint8)
        """(rows,) RowStatus: whether it means anything."""
        self._poisons = poisons
        self._groups = (GroupStep * len(self._block_tables))(
            *(
                GroupStep(table.ctypes.data, *table.shape, block_size, window)
                for table, window in zip(self._block_tables, windows, strict=True)
            )
        )
        self._step = Step(
            token_ids=self._token_ids.ctypes.data,
            starts=self._starts.ctypes.data,
            lengths=self._lengths.ctypes.data,
            slots=self._slots.ctypes.data,
            sampled_rows=self._rows.ctypes.data,
            groups=cast(self._groups, POINTER(GroupStep)),
            num_groups=len(self._groups),
            argmax=self.tokens.data_ptr(),
            is_finite=self.status.data_ptr(),
        )

    @property
    def max_rows(self) -> int:
        return len(self._rows)

    def fill(self, token_ids: IntArray, sequences: IntArray, rows: Sequence[int], *, with_logits: bool) -> Step:
        """The step of these token_ids (tokens,) and sequences (sequences, 3): start, length, slot. Logits are made of
        `rows`, indices of tokens, and written if wanted."""
        step, count = self._step, len(sequences)
        self._token_ids[: len(token_ids)] = token_ids
        self._sequences[:, :count] = sequences.T
        step.num_tokens, step.num_sequences = len(token_ids), count
        return self.fill_rows(rows, with_logits=with_logits)

    def fill_rows(self, rows: Sequence[int], *, with_logits: bool = True) -> Step:
        """The same step with other rows, for ops that need to know no more of it than these."""
        assert len(rows) <= self.max_rows, f"{len(rows)} rows at once, recorded for {self.max_rows}"
        self._rows[: len(rows)] = rows
        self._step.num_sampled = len(rows)
        self._step.logits = self.logits.data_ptr() if with_logits else None
        if self._poisons:
            self.logits.fill_(torch.nan)
            self.tokens.fill_(POISON)
            self.status.fill_(RowStatus.NON_FINITE)
        return self._step

    def end(self) -> None:
        """The step that was filled in last has been computed."""
        if self._poisons:
            for array in (self._token_ids, self._sequences, self._rows):
                array.fill(POISON)
