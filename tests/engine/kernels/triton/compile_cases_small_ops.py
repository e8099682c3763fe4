"""The ops around attention and products, each at the shape that asks most of it."""

import torch
from pagelet_engine.kernels.activation import Activation
from pagelet_engine.kernels.triton.block_copy import copy_blocks
from pagelet_engine.kernels.triton.embedding import embedding
from pagelet_engine.kernels.triton.gated_activation import gated_activation
from pagelet_engine.kernels.triton.rms_norm import rms_norm
from pagelet_engine.kernels.triton.rotary import rotary


def norm_widest() -> None:
    x, residual = torch.empty(2, 3, 16384, dtype=torch.bfloat16)
    rms_norm(x, torch.empty(16384), 1e-6, residual)


def gate(activation: Activation) -> None:
    gated_activation(torch.empty(3, 2 * 14336, dtype=torch.bfloat16), activation)


def step_inputs() -> None:
    """What happens once a step, before its layers."""
    packed = torch.empty(16, dtype=torch.int32)
    copy_blocks(torch.empty(8, 32, 16, 2, 8, 128, dtype=torch.bfloat16), packed[1:5].view(2, 2))
    embedding(packed[5:8], torch.empty(1024, 4096, dtype=torch.bfloat16))
    rotary(packed[8:11], torch.empty(64))


CASES = {
    "RMSNorm of 16,384 with a residual": (norm_widest, ("sm_80", "gfx942")),
    "SiLU gate": (lambda: gate(Activation.SILU), ("sm_90",)),
    "GELU gate": (lambda: gate(Activation.GELU_TANH), ("sm_100",)),
    "block copy, embedding, rotary": (step_inputs, ("sm_80",)),
}
