"""Philox4x32-10: random numbers that are a function of a counter and a key, in plain integer arithmetic.

Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011. No state: a draw is the same in any batch, after
a preemption, on another rank and on another backend.
"""

import torch
from torch import Tensor

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)  # the golden ratio's and √3 - 1's digits
_ROUNDS = 10
_WORD = 0xFFFFFFFF


def philox4x32(counter: Tensor, key: Tensor) -> Tensor:
    """counter (…, 4), key (…, 2) → (…, 4): 32-bit words held in int64, because torch has few unsigned operations."""
    c0, c1, c2, c3 = counter.unbind(-1)
    k0, k1 = key.unbind(-1)
    for _ in range(_ROUNDS):
        low, high = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2  # 64-bit products: wrapping keeps every bit
        c0, c1, c2, c3 = (high >> 32 & _WORD) ^ c1 ^ k0, high & _WORD, (low >> 32 & _WORD) ^ c3 ^ k1, low & _WORD
        k0, k1 = (k0 + _KEY_STEPS[0]) & _WORD, (k1 + _KEY_STEPS[1]) & _WORD
    return torch.stack((c0, c1, c2, c3), -1)


def uniform(seed: Tensor, sample_index: Tensor, position: Tensor) -> Tensor:
    """One number in [0, 1) for each (seed, sample index, position), int64 (rows,) each → float64 (rows,).

    Key: the seed's low and high word. Counter: position, 0, sample index, 0. The number is the first word ÷ 2³².
    """
    zero = torch.zeros_like(position)
    counter = torch.stack((position, zero, sample_index, zero), -1)
    key = torch.stack((seed & _WORD, seed >> 32 & _WORD), -1)
    return philox4x32(counter, key)[..., 0].double() / 2**32
