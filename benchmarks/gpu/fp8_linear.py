"""Linear layers in FP8, their activations' quantising included, beside the same in bfloat16."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from gpu.timing import Peaks, Row, device_peaks, rotation, seconds_a_call
from pagelet_engine.kernels.triton.fp8_linear import fp8_linear, quantize_rows, why_not

SHAPES = {"qkv": (6144, 4096), "gate and up": (28672, 4096), "down": (4096, 14336)}  # out, in: Llama 3 8B
FEW_TOKENS = (1, 32, 128)
MANY_TOKENS = (2048, 8192)


def measure() -> Iterator[Row]:
    """Nothing where the GPU has no FP8 units."""
    if why_not(16, 16, torch.bfloat16, torch.device("cuda", torch.cuda.current_device())):
        return
    peaks = device_peaks()
    for name, shape in SHAPES.items():
        yield from _rows(name, *shape, peaks)


def _rows(name: str, out_features: int, in_features: int, peaks: Peaks) -> Iterator[Row]:
    sets = rotation(out_features * in_features)
    plain = [torch.randn(out_features, in_features, dtype=torch.bfloat16, device="cuda") for _ in range(sets)]
    quantized = [quantize_rows(weight) for weight in plain]
    for tokens in FEW_TOKENS + MANY_TOKENS:
        x = torch.randn(tokens, in_features, dtype=torch.bfloat16, device="cuda")
        seconds = seconds_a_call([lambda x=x, held=held: fp8_linear(x, *held) for held in quantized])
        bf16_s = seconds_a_call([lambda x=x, weight=weight: F.linear(x, weight) for weight in plain])
        case = f"{name} ({in_features} → {out_features}), {tokens} tokens"
        if tokens in MANY_TOKENS and peaks.fp8_flop_per_s is not None:
            flop = 2 * tokens * out_features * in_features
            yield Row.of_flop("fp8_linear", case, seconds, flop, peaks.fp8_flop_per_s, bf16=bf16_s)
        else:
            moved = out_features * in_features + 2 * tokens * (in_features + out_features)
            yield Row.of_bytes("fp8_linear", case, seconds, moved, peaks, bf16=bf16_s)
