"""A mixture of experts at the shapes of well-known models, with the tiles of few tokens and those of many."""

from functools import partial

import torch
from pagelet_engine.kernels.activation import Activation
from pagelet_engine.kernels.triton.experts import experts, route

EVERYWHERE = ("sm_80", "sm_90", "sm_100", "gfx942")


def mix(tokens: int, num_experts: int, top_k: int, hidden: int, inner: int) -> None:
    expert_ids, weights = route(torch.empty(tokens, num_experts), top_k, True)
    experts(
        torch.empty(tokens, hidden, dtype=torch.bfloat16),
        torch.empty(num_experts, 2 * inner, hidden, dtype=torch.bfloat16),
        torch.empty(num_experts, hidden, inner, dtype=torch.bfloat16),
        expert_ids,
        weights,
        Activation.SILU,
    )


CASES = {
    "Qwen 3 30B-A3B, decode": (partial(mix, 32, 128, 8, 2048, 768), EVERYWHERE),
    "Mixtral 8x7B on 8 GPUs, prefill": (partial(mix, 2048, 8, 2, 4096, 1792), EVERYWHERE),
}
