"""Root-mean-square normalisation (Zhang & Sennrich 2019), alone and behind a residual sum."""

from typing import overload

import torch
import triton
import triton.language as tl
from torch import Tensor


@overload
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor: ...
@overload
def rms_norm(x: Tensor, weight: Tensor, eps: float, residual: Tensor) -> tuple[Tensor, Tensor]: ...
def rms_norm(x: Tensor, weight: Tensor, eps: float, residual: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
    """y = x / sqrt(mean(x²) + eps) · weight; with a residual, of total = x + residual: (y, total).

    x, residual (tokens, hidden) in any dtype, of any row stride; hidden up to 16,384. weight (hidden,) fp32.
    y and total are (tokens, hidden) in x's dtype, contiguous. The total is rounded before it is normed: what the next
    block adds to is what was normed here. All else is fp32, and rounded once.
    """
    tokens, hidden = x.shape
    assert hidden <= 16384
    assert x.stride(1) == 1
    y = torch.empty((tokens, hidden), dtype=x.dtype, device=x.device)
    total = None
    if residual is not None:
        assert residual.shape == x.shape
        assert residual.stride(1) == 1
        total = torch.empty_like(y)
    block = triton.next_power_of_2(hidden)
    _rms_norm[(tokens,)](
        x,
        residual,
        weight,
        y,
        total,
        eps,
        x.stride(0),
        residual.stride(0) if residual is not None else 0,
        HIDDEN=hidden,
        BLOCK=block,
        num_warps=max(1, min(16, block // 256)),
        enable_fp_fusion=True,
    )
    return y if total is None else (y, total)


@triton.jit
def _rms_norm(
    x,
    residual,
    weight,
    y,
    total,
    eps,
    x_stride,
    residual_stride,
    HIDDEN: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One row: it stays in registers between the sum and the product."""
    row = tl.program_id(0).to(tl.int64)
    dim = tl.arange(0, BLOCK)
    exists = dim < HIDDEN
    numbers = tl.load(x + row * x_stride + dim, exists, other=0.0).to(tl.float32)
    weights = tl.load(weight + dim, exists, other=0.0)
    if residual is not None:
        numbers += tl.load(residual + row * residual_stride + dim, exists, other=0.0).to(tl.float32)
        rounded = numbers.to(total.dtype.element_ty)
        tl.store(total + row * HIDDEN + dim, rounded, exists)
        numbers = rounded.to(tl.float32)
    over_root = tl.rsqrt(tl.sum(numbers * numbers, 0) / HIDDEN + eps)
    tl.store(y + row * HIDDEN + dim, (numbers * over_root * weights).to(y.dtype.element_ty), exists)
