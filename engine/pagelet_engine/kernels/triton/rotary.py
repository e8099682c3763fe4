"""Cosines and sines of a step's positions, for rotary embeddings (Su et al. 2021)."""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

_TURNS_A_RADIAN = tl.constexpr(0.5 / math.pi)
_RADIANS_A_TURN = tl.constexpr(2 * math.pi)


def rotary(positions: Tensor, inverse_frequencies: Tensor) -> Tensor:
    """cos(p · f) and sin(p · f) for every position p and inverse frequency f.

    The product is fp64, and only what is left of it without whole turns becomes fp32: in fp32 an angle of 10⁶ would be
    known to 0.03 of a radian. There are so few angles that this is cheap even where fp64 is slow.

    positions (tokens,) int32, inverse_frequencies (head_dim / 2,) fp32 → (tokens, 2, head_dim / 2) fp32
    """
    (tokens,), (half,) = positions.shape, inverse_frequencies.shape
    angles = torch.empty((tokens, 2, half), dtype=torch.float32, device=positions.device)
    block = triton.next_power_of_2(half)
    _rotary[(tokens,)](
        positions, inverse_frequencies, angles, HALF=half, BLOCK=block, num_warps=1, enable_fp_fusion=True
    )
    return angles


@triton.jit(do_not_specialize=["positions"])  # a slice of a packed buffer: its alignment varies from step to step
def _rotary(positions, inverse_frequencies, angles, HALF: tl.constexpr, BLOCK: tl.constexpr):
    """One token."""
    token = tl.program_id(0).to(tl.int64)
    dim = tl.arange(0, BLOCK)
    exists = dim < HALF
    position = tl.load(positions + token).to(tl.float64)
    turns = position * tl.load(inverse_frequencies + dim, exists, other=0.0).to(tl.float64)
    turns *= tl.full((BLOCK,), _TURNS_A_RADIAN, tl.float64)
    turns -= tl.floor(turns + 0.5)  # within half a turn of 0, where fp32 is at its best
    angle = (turns * tl.full((BLOCK,), _RADIANS_A_TURN, tl.float64)).to(tl.float32)
    to = angles + token * (2 * HALF) + dim
    tl.store(to, tl.cos(angle), exists)
    tl.store(to + HALF, tl.sin(angle), exists)
