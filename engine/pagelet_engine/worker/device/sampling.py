"""Drawing tokens on rank 0: what the host knows of each slot's wishes, the device's table of them, and the ops.

What the host knows decides which launches are needed; what they compute is the table's affair. Nobody waits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from pagelet_engine.core.step import Segment, SlotStart
from pagelet_engine.kernels.sampling_table import SamplingTable, StartRows
from pagelet_engine.worker.device.packed_starts import PackedStarts

MAX_BIAS = 1024
MAX_FORBIDDEN = 256
"""Entries of a slot's rows: more than requests may ask for, and the model's own end tokens."""


class Sample(Protocol):
    def __call__(
        self,
        logits: Tensor,
        draw_slots: Tensor,
        draw_positions: Tensor,
        table: SamplingTable,
        *,
        any_edited: bool,
        any_random: bool,
        any_filtered: bool,
    ) -> tuple[Tensor, Tensor]: ...


class NoteDrawn(Protocol):
    def __call__(
        self, tokens: Tensor, draw_slots: Tensor, last_token: Tensor, table: SamplingTable, *, any_penalised: bool
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Ops:
    """The sampler's kernels of one backend."""

    start_rows: Callable[[SamplingTable, StartRows], None]
    sample: Sample
    note_drawn: NoteDrawn


@dataclass(frozen=True, slots=True)
class Wishes:
    """What of a sample's parameters costs launches."""

    is_random: bool
    is_filtered: bool
    has_penalties: bool
    is_edited: bool
    """Whatever the position."""
    edited_before: int
    """Positions before this one are edited, too."""

    @classmethod
    def of(cls, start: SlotStart, vocab_size: int) -> "Wishes":
        own = start.sampling
        penalised = own.has_penalties
        return cls(
            is_random=own.temperature > 0,
            is_filtered=0 < own.top_k < vocab_size or own.top_p < 1 or own.min_p > 0,
            has_penalties=penalised,
            is_edited=penalised or bool(own.logit_bias),
            edited_before=len(start.prompt) + own.min_tokens if own.stop_token_ids else 0,
        )


class Sampling:
    def __init__(self, ops: Ops, table: SamplingTable) -> None:
        self._ops, self._table = ops, table
        self._wishes: dict[int, Wishes] = {}

    def pack(self, starts: Sequence[SlotStart]) -> PackedStarts:
        """Remember what new samples wish; → what `seat` wants on the device."""
        vocab_size = self._table.vocab_size
        for start in starts:
            self._wishes[start.slot] = Wishes.of(start, vocab_size)
        return PackedStarts.of(starts, vocab_size)

    def seat(self, rows: StartRows) -> None:
        self._ops.start_rows(self._table, rows)

    def draw(
        self,
        logits: Tensor,
        drawing: Sequence[Segment],
        draw_slots: Tensor,
        draw_positions: Tensor,
        last_token: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """logits (rows, vocab), one row a segment; draw_slots, draw_positions (rows,): the same on the device → tokens
        and their RowStatus, (rows,) int32 each, remembered in last_token (slots,) and the table."""
        wishes = [self._wishes[segment.slot] for segment in drawing]
        tokens, status = self._ops.sample(
            logits,
            draw_slots,
            draw_positions,
            self._table,
            any_edited=any(
                own.is_edited or segment.start + segment.num_tokens < own.edited_before
                for own, segment in zip(wishes, drawing, strict=True)
            ),
            any_random=any(own.is_random for own in wishes),
            any_filtered=any(own.is_filtered for own in wishes),
        )
        penalised = any(own.has_penalties for own in wishes)
        self._ops.note_drawn(tokens, draw_slots, last_token, self._table, any_penalised=penalised)
        return tokens, status
