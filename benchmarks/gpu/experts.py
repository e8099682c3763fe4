"""The mixture of experts, beside a loop over experts that already know their tokens."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from gpu.timing import Peaks, Row, device_peaks, rotation, seconds_a_call
from pagelet_engine.kernels.activation import Activation
from pagelet_engine.kernels.triton.experts import experts, route
from torch import Tensor

SHAPES = {  # experts, top_k, hidden, inner
    "Qwen3-30B-A3B": (128, 8, 2048, 768),
    "Mixtral-8x7B on 2 GPUs": (8, 2, 4096, 7168),
}
DECODES = (1, 8, 32, 64)
PREFILLS = (512, 2048, 8192)


def measure() -> Iterator[Row]:
    peaks = device_peaks()
    for name, shape in SHAPES.items():
        yield from _rows(name, *shape, peaks)


def _rows(name: str, num_experts: int, top_k: int, hidden: int, inner: int, peaks: Peaks) -> Iterator[Row]:
    gate_up = torch.randn(num_experts, 2 * inner, hidden, dtype=torch.bfloat16, device="cuda") / hidden**0.5
    down = torch.randn(num_experts, hidden, inner, dtype=torch.bfloat16, device="cuda") / inner**0.5
    expert_bytes = 2 * 3 * inner * hidden
    for tokens in DECODES + PREFILLS:
        # Every call has tokens of its own, which go to experts of their own.
        inputs = [_inputs(tokens, num_experts, top_k, hidden) for _ in range(rotation(tokens * top_k * expert_bytes))]
        seconds = seconds_a_call([_mixture(*each, gate_up, down) for each in inputs])
        loop_s = seconds_a_call([_loop(*each, gate_up, down) for each in inputs])
        case = f"{name}, {tokens} tokens"
        if tokens in PREFILLS:
            flop = 2 * 3 * tokens * top_k * inner * hidden
            yield Row.of_flop("experts", case, seconds, flop, peaks.bf16_flop_per_s, loop=loop_s)
        else:
            read = sum(len(ids.unique()) for _, ids, _ in inputs) * expert_bytes // len(inputs)
            yield Row.of_bytes("experts", case, seconds, read, peaks, loop=loop_s)


def _inputs(tokens: int, num_experts: int, top_k: int, hidden: int) -> tuple[Tensor, Tensor, Tensor]:
    x = torch.randn(tokens, hidden, dtype=torch.bfloat16, device="cuda")
    return x, *route(torch.randn(tokens, num_experts, device="cuda"), top_k, True)


def _mixture(x: Tensor, ids: Tensor, weights: Tensor, gate_up: Tensor, down: Tensor) -> Callable[[], Tensor]:
    return lambda: experts(x, gate_up, down, ids, weights, Activation.SILU)


def _loop(x: Tensor, ids: Tensor, weights: Tensor, gate_up: Tensor, down: Tensor) -> Callable[[], Tensor]:
    """Ordinary products, spared the question which tokens an expert has."""
    chosen = [(expert, *(ids == expert).nonzero(as_tuple=True)) for expert in ids.unique().tolist()]
    shares = [(expert, tokens, weights[tokens, choice, None].to(x.dtype)) for expert, tokens, choice in chosen]

    def run() -> Tensor:
        total = torch.zeros_like(x)
        for expert, tokens, share in shares:
            gate, up = F.linear(x[tokens], gate_up[expert]).chunk(2, dim=-1)
            total.index_add_(0, tokens, F.linear(F.silu(gate) * up, down[expert]) * share)
        return total

    return run
