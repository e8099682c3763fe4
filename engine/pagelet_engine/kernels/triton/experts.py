"""A mixture of experts in place of one MLP: which experts a token takes, and what they make of it.

Five launches: route, sort by expert, gate and up with their activation, down with the routing weight, sum. No atomics:
a token's sum has one order, and the same input gives the same bits.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from pagelet_engine.kernels.activation import Activation
from pagelet_engine.kernels.triton.grouped_gemm import Tiling, gated, sort_by_expert, weighted
from pagelet_engine.kernels.triton.target import Target, current_target


def route(router_logits: Tensor, top_k: int, renormalise: bool) -> tuple[Tensor, Tensor]:
    """Each token's experts: the top_k of its softmax over all of them, the lower number first among equals.

    router_logits (tokens, experts) → expert_ids (tokens, top_k) int32, weights (tokens, top_k) fp32: the experts'
    probabilities, divided by their sum where `renormalise`. NaN ranks as probability 0, and stays NaN as a weight: a
    padded row may hold it.
    """
    tokens, num_experts = router_logits.shape
    assert router_logits.stride(1) == 1, "the rows of router_logits are contiguous"
    assert top_k <= num_experts
    expert_ids = torch.empty(tokens, top_k, dtype=torch.int32, device=router_logits.device)
    weights = torch.empty(tokens, top_k, dtype=torch.float32, device=router_logits.device)
    _route[(tokens,)](
        router_logits,
        expert_ids,
        weights,
        router_logits.stride(0),
        NUM_EXPERTS=num_experts,
        EXPERTS=triton.next_power_of_2(num_experts),
        TOP_K=top_k,
        CHOICES=triton.next_power_of_2(top_k),
        RENORMALISE=renormalise,
        num_warps=1,
        enable_fp_fusion=True,
    )
    return expert_ids, weights


def experts(
    x: Tensor, gate_up: Tensor, down: Tensor, expert_ids: Tensor, weights: Tensor, activation: Activation
) -> Tensor:
    """Σ over a token's experts e of weight · down_e·(activation(gate_e·x) · up_e·x).

    x (tokens, hidden), gate_up (experts, 2 × inner, hidden): gate, then up; down (experts, hidden, inner);
    expert_ids (tokens, top_k) int32, no expert twice in a row; weights (tokens, top_k) fp32 → (tokens, hidden) in x's
    dtype. Products and sums are fp32; an expert's part is rounded to x's dtype on its way to the sum, since fp32 parts
    would double what the sum of a long prompt costs.
    """
    (tokens, top_k), num_experts = expert_ids.shape, len(gate_up)
    wide = x.element_size() > 2
    first, second = tilings(expert_ids.numel(), num_experts, wide, current_target())
    order = sort_by_expert(expert_ids, num_experts, first.block_m)
    product = gated(x, gate_up, order, top_k, activation, first)
    parts = weighted(product, down, order, weights, second)

    hidden = x.shape[1]
    output = torch.empty(tokens, hidden, dtype=x.dtype, device=x.device)
    block = min(1024, triton.next_power_of_2(hidden))
    _sum[(tokens, triton.cdiv(hidden, block))](
        parts, output, HIDDEN=hidden, TOP_K=top_k, BLOCK=block, enable_fp_fusion=True
    )
    return output


def tilings(num_pairs: int, num_experts: int, wide: bool, target: Target) -> tuple[Tiling, Tiling]:
    """Tiles of the two products, by how many rows an expert has on average; `wide`: of 4-byte numbers.

    Few rows: the weights' stream is all that matters, so tiles are small, to be many. Many rows: tiles as large as the
    accumulators' registers allow; the first product has two of them, and where tensor cores read their operands from
    registers (NVIDIA before Hopper) there is room for half.
    """
    rows = num_pairs / num_experts
    block_m = next(size for size in (16, 32, 64, 128) if rows <= size or size == 128)
    is_amd = target.backend == "hip"
    stages = 2 if is_amd else 3  # AMD's 64 KiB of shared memory hold one of the largest stages, and not two
    if wide:
        return Tiling(min(block_m, 32), 32, 32, 4, stages), Tiling(min(block_m, 32), 64, 32, 4, stages)
    if block_m <= 32:
        return Tiling(block_m, 64, 64, 4, stages + 1), Tiling(block_m, 64, 128, 4, stages)
    if block_m == 64:
        return Tiling(64, 64, 64, 4, stages), Tiling(64, 128, 64, 4, stages)
    if not is_amd and target.shared_bytes < 227 * 1024:
        return Tiling(128, 64, 64, 8, stages), Tiling(128, 128, 64, 8, stages)
    return Tiling(128, 128, 64, 8, stages), Tiling(128, 256, 64, 8, stages)


@triton.jit
def _route(
    router_logits,  # (tokens, NUM_EXPERTS)
    expert_ids,  # (tokens, TOP_K)
    weights,  # (tokens, TOP_K)
    logits_stride,
    NUM_EXPERTS: tl.constexpr,
    EXPERTS: tl.constexpr,  # the next power of two
    TOP_K: tl.constexpr,
    CHOICES: tl.constexpr,  # the next power of two
    RENORMALISE: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    expert = tl.arange(0, EXPERTS)
    exists = expert < NUM_EXPERTS
    logits = tl.load(router_logits + token * logits_stride + expert, mask=exists, other=float("-inf")).to(tl.float32)
    exponentials = tl.exp(logits - tl.max(logits))
    probabilities = exponentials / tl.sum(exponentials)

    choice = tl.arange(0, CHOICES)
    chosen = tl.zeros((CHOICES,), dtype=tl.int32)
    chosen_weights = tl.zeros((CHOICES,), dtype=tl.float32)
    # What is there and not yet chosen is at least 0, NaN included: each choice is another expert that exists.
    rank = tl.where(exists, tl.where(probabilities == probabilities, probabilities, 0.0), -1.0)
    for i in tl.static_range(TOP_K):
        best = tl.argmax(rank, 0, tie_break_left=True)
        weight = tl.sum(tl.where(expert == best, probabilities, 0.0))
        chosen = tl.where(choice == i, best, chosen)
        chosen_weights = tl.where(choice == i, weight, chosen_weights)
        rank = tl.where(expert == best, -1.0, rank)
    if RENORMALISE:
        chosen_weights /= tl.sum(chosen_weights)
    at = token * TOP_K + choice
    tl.store(expert_ids + at, chosen, mask=choice < TOP_K)
    tl.store(weights + at, chosen_weights, mask=choice < TOP_K)


@triton.jit
def _sum(
    parts,  # (tokens, TOP_K, HIDDEN)
    output,  # (tokens, HIDDEN)
    HIDDEN: tl.constexpr,
    TOP_K: tl.constexpr,
    BLOCK: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < HIDDEN
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for i in tl.static_range(TOP_K):
        total += tl.load(parts + (token * TOP_K + i) * HIDDEN + column, mask=inside, other=0).to(tl.float32)
    tl.store(output + token * HIDDEN + column, total.to(output.dtype.element_ty), mask=inside)
