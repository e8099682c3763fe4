"""Routing and the mixture of experts, against their formulas in float64 and against the reference."""

import itertools

import pytest
import torch
import torch.nn.functional as F
import triton
from pagelet_engine.kernels.activation import Activation
from pagelet_engine.kernels.reference import experts as reference
from pagelet_engine.kernels.triton.experts import experts, route, tilings
from pagelet_engine.kernels.triton.grouped_gemm import sort_by_expert
from pagelet_engine.kernels.triton.target import Target

TOLERANCE = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 2e-2}
# Triton's interpreter cannot multiply matrices of bfloat16.
DTYPES = [torch.float32, torch.float16] if triton.knobs.runtime.interpret else list(TOLERANCE)
HALF = DTYPES[-1]


def in_float64(x, gate_up, down, expert_ids, weights, activation) -> torch.Tensor:
    act = {Activation.SILU: F.silu, Activation.GELU_TANH: lambda gate: F.gelu(gate, approximate="tanh")}[activation]
    x, gate_up, down, weights = (tensor.double() for tensor in (x, gate_up, down, weights))
    rows = []
    for token, ids in enumerate(expert_ids.tolist()):
        parts = []
        for choice, expert in enumerate(ids):
            gate, up = (gate_up[expert] @ x[token]).chunk(2)
            parts.append(weights[token, choice] * (down[expert] @ (act(gate) * up)))
        rows.append(sum(parts))
    return torch.stack(rows)


def mixture(generator, tokens, hidden, inner, num_experts, top_k, dtype, device, activation=Activation.SILU):
    def normal(*shape):
        return torch.randn(shape, generator=generator)

    logits = normal(tokens, num_experts)
    expert_ids, weights = reference.route(logits, top_k, True)
    gate_up, down = (
        normal(num_experts, 2 * inner, hidden) / hidden**0.5,
        normal(num_experts, hidden, inner) / inner**0.5,
    )
    x, gate_up, down = (tensor.to(device, dtype) for tensor in (normal(tokens, hidden), gate_up, down))
    return x, gate_up, down, expert_ids.to(device), weights.to(device), activation


SHAPES = [  # tokens, hidden, inner, experts, top_k
    (1, 48, 20, 4, 2),
    (3, 64, 64, 8, 2),
    (9, 130, 80, 60, 3),  # most experts have no token
    (64, 96, 33, 5, 1),
    (40, 64, 128, 3, 3),  # every token takes every expert
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("op", [experts, reference.experts], ids=["triton", "reference"])
def test_a_tokens_experts_are_summed_by_their_weights(op, shape, dtype, device, generator):
    arguments = mixture(generator, *shape, dtype, device)
    found = op(*arguments)
    assert found.dtype == dtype
    torch.testing.assert_close(
        found.double().cpu(), in_float64(*arguments).cpu(), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype]
    )


def test_the_gate_may_be_a_tanh_gelu(device, generator):
    arguments = mixture(generator, 4, 64, 32, 4, 2, torch.float32, device, Activation.GELU_TANH)
    wanted = in_float64(*arguments).float()
    torch.testing.assert_close(experts(*arguments), wanted, rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(reference.experts(*arguments), wanted, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("rows", [16, 17, 32, 64, 128, 260])
def test_tiles_of_every_size_reach_every_row(rows, device, generator):
    """Two experts of `rows` rows each, on average; one of them has more, and its last tile is not full."""
    x, gate_up, down, _, weights, _ = mixture(generator, 2 * rows, 64, 32, 2, 1, HALF, device)
    expert_ids = (torch.arange(2 * rows, device=device)[:, None] % 3 == 0).int()
    torch.testing.assert_close(
        experts(x, gate_up, down, expert_ids, weights, Activation.SILU),
        reference.experts(x, gate_up, down, expert_ids, weights, Activation.SILU),
        rtol=2e-2,
        atol=2e-2,
    )


def test_a_token_gets_the_same_bits_beside_nan_and_whichever_others_share_its_experts(device, generator):
    x, gate_up, down, expert_ids, weights, _ = mixture(generator, 24, 64, 48, 4, 2, HALF, device)
    alone = experts(x, gate_up, down, expert_ids, weights, Activation.SILU)
    x[1::2], weights[1::2] = torch.nan, torch.nan
    expert_ids[1::2] = expert_ids[:1]  # padded rows may all go to the same
    assert experts(x, gate_up, down, expert_ids, weights, Activation.SILU)[::2].equal(alone[::2])


def test_rows_of_x_may_lie_apart(device, generator):
    x, *others = mixture(generator, 5, 64, 32, 4, 2, HALF, device)
    apart = torch.full((5, 80), torch.nan, dtype=x.dtype, device=device)[:, :64]
    apart.copy_(x)
    assert experts(apart, *others).equal(experts(x, *others))


@pytest.mark.parametrize("renormalise", [True, False])
@pytest.mark.parametrize(
    ("tokens", "num_experts", "top_k"), [(1, 8, 2), (33, 128, 8), (5, 60, 4), (2, 3, 3), (4, 7, 1)]
)
@pytest.mark.parametrize("op", [route, reference.route], ids=["triton", "reference"])
def test_routes_to_the_likeliest_experts(op, tokens, num_experts, top_k, renormalise, device, generator):
    logits = 3 * torch.randn(tokens, num_experts, generator=generator)
    expert_ids, weights = op(logits.to(device), top_k, renormalise)
    wanted, ids = logits.double().softmax(-1).topk(top_k, -1)
    assert expert_ids.dtype == torch.int32
    assert weights.dtype == torch.float32
    assert expert_ids.cpu().equal(ids.int())
    wanted = wanted / wanted.sum(-1, keepdim=True) if renormalise else wanted
    torch.testing.assert_close(weights.double().cpu(), wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("op", [route, reference.route], ids=["triton", "reference"])
def test_among_equals_the_lower_expert_comes_first_and_nan_still_names_experts_that_exist(op, device):
    logits = torch.tensor([[1.0, 2.0, 1.0, 2.0, 1.0], [float("nan")] * 5], device=device)
    expert_ids, weights = op(logits, 3, True)
    assert expert_ids.tolist() == [[1, 3, 0], [0, 1, 2]]
    assert weights[0].isfinite().all()
    assert weights[1].isnan().all()


@pytest.mark.parametrize(
    ("tokens", "num_experts", "top_k", "block_m"), [(1, 8, 2, 16), (70, 6, 2, 16), (300, 64, 8, 32), (2100, 3, 2, 128)]
)
def test_pairs_are_sorted_by_expert_and_cut_into_tiles_of_one_expert(tokens, num_experts, top_k, block_m, device):
    generator = torch.Generator().manual_seed(tokens)
    scores = torch.rand(tokens, num_experts, generator=generator) * torch.arange(1, num_experts + 1)
    expert_ids = scores.argsort(-1)[:, :top_k].int().contiguous()
    order = sort_by_expert(expert_ids.to(device), num_experts, block_m)
    by_expert = expert_ids.view(-1).sort(stable=True)
    assert order.pairs.cpu().equal(by_expert.indices.int())
    ends = by_expert.values.bincount(minlength=num_experts).cumsum(0).tolist()
    wanted = [
        (expert, row, end)
        for expert, (start, end) in enumerate(itertools.pairwise([0, *ends]))
        for row in range(start, end, block_m)
    ]
    found = order.tiles.tolist()
    assert [tuple(tile) for tile in found[: len(wanted)]] == wanted
    assert all(expert == -1 for expert, _, _ in found[len(wanted) :])


def test_tiles_grow_with_the_rows_of_an_expert():
    sizes = [tilings(pairs, 8, False, Target("cuda", 90))[0].block_m for pairs in (2, 128, 129, 512, 513, 4096)]
    assert sizes == [16, 16, 32, 64, 128, 128]
