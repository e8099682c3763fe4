"""Quantising a Llama's activations, where the target has FP8 (gfx942 in software: its products take another e4m3)."""

import torch
from pagelet_engine.kernels.triton.fp8_linear import quantize_rows


def quantize() -> None:
    quantize_rows(torch.empty(32, 14336, dtype=torch.bfloat16))


CASES = {"Llama 3 8B, down's activations": (quantize, ("sm_90", "sm_100", "gfx942"))}
