"""New samples as the few integer arrays in which a step carries them to the device's sampling table. Pure numpy."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

from pagelet_engine.core.step import SlotStart
from pagelet_engine.kernels.sampling_table import (
    BIAS_SHIFT,
    FORBIDDEN_SHIFT,
    HAS_BIAS,
    HAS_PENALTIES,
    IN_PROMPT,
    NUM_PARAMS,
)

IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class PackedStarts:
    """The arrays of `kernels.sampling_table.StartRows`, on the host."""

    slots: IntArray
    """(starts,)"""
    params: IntArray
    """(starts, 12)"""
    bias: IntArray
    """(entries, 4)"""
    forbidden: IntArray
    """(entries, 3)"""
    tokens: IntArray
    """(entries, 2)"""

    @property
    def arrays(self) -> tuple[IntArray, ...]:
        """In the order of `StartRows`."""
        return tuple(getattr(self, field.name) for field in fields(self))

    @classmethod
    def of(cls, starts: Sequence[SlotStart], vocab_size: int) -> Self:
        """All starts of a step."""
        parts = [pack_start(start, vocab_size) for start in starts]
        widths = (), (NUM_PARAMS,), (4,), (3,), (2,)
        nothing = (np.empty((0, *width), np.int32) for width in widths)
        return cls(
            *(
                np.concatenate([none, *(getattr(part, field.name) for part in parts)])
                for field, none in zip(fields(cls), nothing, strict=True)
            )
        )


def pack_start(start: SlotStart, vocab_size: int) -> PackedStarts:
    """One sample."""
    sampling, slot = start.sampling, start.slot
    bias = sampling.logit_bias
    forbidden = sorted(sampling.stop_token_ids) if sampling.min_tokens else []
    flags = HAS_PENALTIES * sampling.has_penalties | HAS_BIAS * bool(bias)
    flags |= len(bias) << BIAS_SHIFT | len(forbidden) << FORBIDDEN_SHIFT
    words = (
        min(sampling.top_k or vocab_size, vocab_size),
        sampling.seed & 0xFFFFFFFF,
        sampling.seed >> 32 & 0xFFFFFFFF,
        start.sample_index,
        len(start.prompt) + sampling.min_tokens if forbidden else 0,
        flags,
    )
    return PackedStarts(
        np.array([slot], np.int32),
        np.concatenate((_bits(*_floats_of(start)), np.array(words, np.uint32).view(np.int32)))[None],
        _columns(slot, np.arange(len(bias)), np.fromiter(bias, np.int32, len(bias)), _bits(*bias.values())),
        _columns(slot, np.arange(len(forbidden)), np.array(forbidden, np.int32)),
        _columns(slot, _seen(start)),
    )


def _floats_of(start: SlotStart) -> tuple[float, ...]:
    own = start.sampling
    penalties = own.repetition_penalty, own.presence_penalty, own.frequency_penalty
    return own.temperature, own.top_p, own.min_p, *penalties


def _seen(start: SlotStart) -> IntArray:
    """Tokens that penalties look at; bit 30: of the prompt."""
    if not start.sampling.has_penalties:
        return np.empty(0, np.int32)
    prompt = np.array(start.prompt, np.int32) | np.int32(IN_PROMPT)
    return np.concatenate((prompt, np.array(start.output, np.int32)))


def _columns(slot: int, *columns: npt.NDArray[np.integer]) -> IntArray:
    """(entries, 1 + columns): the slot before each entry."""
    return np.stack((np.full_like(columns[0], slot), *columns), 1, dtype=np.int32, casting="same_kind")


def _bits(*numbers: float) -> IntArray:
    return np.array(numbers, np.float32).view(np.int32)
