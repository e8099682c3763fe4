"""SiLU gate, beside torch's silu and product."""

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from gpu.timing import Row, device_peaks, rotation, seconds_a_call
from pagelet_engine.kernels.activation import Activation
from pagelet_engine.kernels.triton.gated_activation import gated_activation
from torch import Tensor

INNER = {"Qwen 3 0.6B": 3072, "Llama 3 8B": 14336}
TOKENS = (1, 32, 256, 8192)


def measure() -> Iterator[Row]:
    peaks = device_peaks()
    for name, inner in INNER.items():
        for tokens in TOKENS:
            num_bytes = 3 * 2 * tokens * inner  # two read, one written
            inputs = [
                torch.randn(tokens, 2 * inner, dtype=torch.bfloat16, device="cuda") for _ in range(rotation(num_bytes))
            ]
            seconds = seconds_a_call([partial(gated_activation, each, Activation.SILU) for each in inputs])
            torch_s = seconds_a_call([partial(_silu_mul, each) for each in inputs])
            case = f"{name}, {tokens} tokens"
            yield Row.of_bytes("gated_activation", case, seconds, num_bytes, peaks, torch=torch_s)


def _silu_mul(gate_up: Tensor) -> Tensor:
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up
