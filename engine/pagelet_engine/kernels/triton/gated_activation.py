"""The gate of a gated MLP: silu (Shazeer 2020), or the tanh approximation of gelu (Hendrycks & Gimpel 2016)."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from pagelet_engine.kernels.activation import Activation

_BLOCK = 2048  # numbers a program makes: 16 a thread of 4 warps, from four loads of 16 bytes


def gated_activation(gate_up: Tensor, activation: Activation) -> Tensor:
    """act(gate) · up, in fp32, rounded once.

    silu(x) = x · sigmoid(x)
    gelu(x) = x / 2 · (1 + tanh z) = x · sigmoid(2z), with z = sqrt(2/π) · (x + 0.044715 x³)

    gate_up (tokens, 2 × inner), of any row stride: gate, then up → (tokens, inner), contiguous
    """
    tokens, inner = gate_up.shape[0], gate_up.shape[1] // 2
    assert gate_up.stride(1) == 1
    assert gate_up.shape[1] == 2 * inner
    gated = torch.empty((tokens, inner), dtype=gate_up.dtype, device=gate_up.device)
    block = min(_BLOCK, triton.next_power_of_2(inner))
    _gated_activation[(tokens, triton.cdiv(inner, block))](
        gate_up,
        gated,
        gate_up.stride(0),
        INNER=inner,
        IS_SILU=activation is Activation.SILU,
        BLOCK=block,
        enable_fp_fusion=True,
    )
    return gated


@triton.jit
def _gated_activation(gate_up, gated, stride, INNER: tl.constexpr, IS_SILU: tl.constexpr, BLOCK: tl.constexpr):
    """BLOCK numbers of one token."""
    token = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    exists = column < INNER
    from_row = gate_up + token * stride + column
    gate = tl.load(from_row, exists, other=0.0).to(tl.float32)
    up = tl.load(from_row + INNER, exists, other=0.0).to(tl.float32)
    twice_root: tl.constexpr = 1.5957691216057308  # 2 · sqrt(2/π)
    z = gate if IS_SILU else twice_root * (gate + 0.044715 * gate * gate * gate)
    tl.store(gated + token * INNER + column, (gate * tl.sigmoid(z) * up).to(gated.dtype.element_ty), exists)
