"""What a device remembers of its samples to draw their tokens: a row a slot, packed into few arrays.

Owns the layout, which the sampler's implementations share with the host that packs new rows
(worker/device/packed_starts.py). Refuses to know how a token is drawn.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

# Columns of `params`. The first six are fp32, as the bits of an int32.
TEMPERATURE, TOP_P, MIN_P, REPETITION, PRESENCE, FREQUENCY = range(6)
TOP_K, SEED_LOW, SEED_HIGH, SAMPLE_INDEX, MIN_POSITION, FLAGS = range(6, 12)
NUM_PARAMS = 12

# Bits of the column FLAGS.
HAS_PENALTIES = 1
HAS_BIAS = 2
BIAS_SHIFT, BIAS_MASK = 2, (1 << 14) - 1  # how many entries of bias_tokens and bias_values are in use
FORBIDDEN_SHIFT = 16  # how many of forbidden

# Bits of token_counts, and of the entries that fill them.
IN_PROMPT = 1 << 30
COUNT_MASK = IN_PROMPT - 1


@dataclass(frozen=True, slots=True)
class SamplingTable:
    """Tensors on one device. A row means something while a sample sits in its slot."""

    params: Tensor
    """(slots, 12) int32: temperature, top_p, min_p, repetition, presence, frequency (fp32 bits); top_k (1 … vocabulary,
    which means off), the seed's low and high word, the sample's index, the position before which tokens that end the
    sample are forbidden (0: none are), flags."""
    token_counts: Tensor
    """(slots, vocab) int32: how often the token is in the output; bit 30: it is in the prompt. Only rows of slots with
    penalties are ever written or read."""
    bias_tokens: Tensor
    """(slots, max_bias) int32: different tokens; what lies behind those in use is whatever it was."""
    bias_values: Tensor
    """(slots, max_bias) fp32: what is added to their logits."""
    forbidden: Tensor
    """(slots, max_forbidden) int32: tokens that end the sample; likewise."""

    @classmethod
    def empty(cls, num_slots: int, vocab_size: int, max_bias: int, max_forbidden: int, device: torch.device) -> Self:
        def rows(length: int, dtype: torch.dtype = torch.int32) -> Tensor:
            return torch.zeros(num_slots, length, dtype=dtype, device=device)

        return cls(
            rows(NUM_PARAMS), rows(vocab_size), rows(max_bias), rows(max_bias, torch.float32), rows(max_forbidden)
        )

    @property
    def vocab_size(self) -> int:
        return self.token_counts.shape[1]


@dataclass(frozen=True, slots=True)
class StartRows:
    """New samples, which take their rows of the table in one step. int32, on the table's device."""

    slots: Tensor
    """(starts,) different ones."""
    params: Tensor
    """(starts, 12)"""
    bias: Tensor
    """(entries, 4): slot, place in the slot's row, token, bits of the fp32 value."""
    forbidden: Tensor
    """(entries, 3): slot, place in the slot's row, token."""
    tokens: Tensor
    """(entries, 2): slot and token of penalised samples, as often as it occurs; bit 30: it is the prompt's, else the
    output's."""
