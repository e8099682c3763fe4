"""RMSNorm with a residual, beside torch's sum and norm."""

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from gpu.timing import Row, device_peaks, rotation, seconds_a_call
from pagelet_engine.kernels.triton.rms_norm import rms_norm
from torch import Tensor

HIDDEN = (1024, 4096, 8192)
TOKENS = (1, 32, 256, 8192)


def measure() -> Iterator[Row]:
    peaks = device_peaks()
    for hidden in HIDDEN:
        weight = torch.ones(hidden, device="cuda")
        for tokens in TOKENS:
            num_bytes = 4 * 2 * tokens * hidden  # two read, two written
            pairs = [
                torch.randn(2, tokens, hidden, dtype=torch.bfloat16, device="cuda") for _ in range(rotation(num_bytes))
            ]
            seconds = seconds_a_call([partial(rms_norm, x, weight, 1e-6, residual) for x, residual in pairs])
            half_weight = weight.to(torch.bfloat16)
            torch_s = seconds_a_call([partial(_sum_and_norm, x, half_weight, residual) for x, residual in pairs])
            case = f"{tokens} × {hidden}, residual"
            yield Row.of_bytes("rms_norm", case, seconds, num_bytes, peaks, torch=torch_s)


def _sum_and_norm(x: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
    return F.rms_norm(x + residual, weight.shape, weight, 1e-6)
