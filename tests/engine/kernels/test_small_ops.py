"""The ops around attention, each against its formula in float64."""

import math

import pytest
import torch
from pagelet_engine.kernels.activation import Activation
from pagelet_engine.kernels.reference.block_copy import block_copy
from pagelet_engine.kernels.reference.embedding import embedding
from pagelet_engine.kernels.reference.gated_activation import gated_activation
from pagelet_engine.kernels.reference.head_logits import head_logits
from pagelet_engine.kernels.reference.linear import linear
from pagelet_engine.kernels.reference.rms_norm import rms_norm
from pagelet_engine.kernels.reference.rope_kv_write import rope_kv_write

DTYPES = [torch.float32, torch.bfloat16]
# Relative: fp32 sums over a few hundred numbers; bf16 rounds to 8 bits, at most three times in an op.
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 2e-2}
SIZES = [(1, 1), (1, 64), (3, 7), (17, 130), (64, 576)]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def close(found: torch.Tensor, wanted: torch.Tensor, dtype: torch.dtype) -> None:
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), wanted, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("tokens", "hidden"), SIZES)
def test_rms_norm_divides_by_the_root_of_the_mean_square(tokens, hidden, dtype):
    x = torch.randn(tokens, hidden).to(dtype)
    weight = torch.rand(hidden) + 0.5
    wide = x.double()
    wanted = wide / (wide.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight.double()
    close(rms_norm(x, weight, 1e-5), wanted, dtype)


def test_rms_norm_of_zeros_is_zero():
    assert rms_norm(torch.zeros(2, 8), torch.ones(8), 1e-6).eq(0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("tokens", "inner"), SIZES)
def test_gated_activations_are_their_formulas(tokens, inner, dtype):
    gate_up = (4 * torch.randn(tokens, 2 * inner)).to(dtype)
    before = gate_up.clone()
    gate, up = gate_up.double().chunk(2, -1)
    close(gated_activation(gate_up, Activation.SILU), gate / (1 + (-gate).exp()) * up, dtype)
    gelu = gate / 2 * (1 + ((2 / math.pi) ** 0.5 * (gate + 0.044715 * gate**3)).tanh())
    close(gated_activation(gate_up, Activation.GELU_TANH), gelu * up, dtype)
    torch.testing.assert_close(gate_up, before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("with_residual", [False, True])
@pytest.mark.parametrize(("tokens", "features"), SIZES)
def test_linear_adds_its_bias_and_the_residual(tokens, features, with_bias, with_residual, dtype):
    x, weight = torch.randn(tokens, features).to(dtype), (torch.randn(5, features) / features**0.5).to(dtype)
    bias = torch.randn(5).to(dtype) if with_bias else None
    residual = torch.randn(tokens, 5).to(dtype) if with_residual else None
    wanted = x.double() @ weight.double().T
    wanted = wanted + bias.double() if with_bias else wanted
    wanted = wanted + residual.double() if with_residual else wanted
    close(linear(x, weight, bias, residual), wanted, dtype)


def test_embedding_takes_rows():
    weight = torch.randn(11, 4)
    torch.testing.assert_close(
        embedding(torch.tensor([10, 0, 10]), weight), torch.stack([weight[i] for i in (10, 0, 10)])
    )


def test_embedding_of_a_part_gives_zeros_for_the_tokens_of_others():
    weight = torch.randn(11, 4)
    weight[5] = math.nan  # nobody's row
    found = embedding(torch.tensor([19, 20, 24, 26, 31, 0]), weight, first_token=20)
    torch.testing.assert_close(
        found, torch.stack([0 * weight[0], weight[0], weight[4], weight[6], *2 * [0 * weight[0]]])
    )


def test_embedding_scales_in_its_own_type():
    weight = torch.randn(3, 8).bfloat16()
    scale = torch.tensor(1152**0.5).bfloat16()
    assert torch.equal(embedding(torch.arange(3), weight, scale=1152**0.5), weight * scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "hidden", "vocab"), [(1, 64, 1), (3, 576, 5000), (2, 4096, 301)])
def test_logits_are_fp32_sums_of_exact_products(rows, hidden, vocab, dtype):
    x, weight = torch.randn(rows, hidden).to(dtype), torch.randn(vocab, hidden).to(dtype)
    logits = head_logits(x, weight)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits.double(), x.double() @ weight.double().T, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(1, 1, 2), (9, 3, 64), (8, 1, 80)])
def test_rope_turns_pairs_of_halves_and_writes_keys_and_values(heads, kv_heads, head_dim, dtype):
    tokens, half = 5, head_dim // 2
    qkv = torch.randn(tokens, heads + 2 * kv_heads, head_dim).to(dtype)
    before = qkv.clone()
    angles = 100 * torch.rand(tokens, half)
    cos, sin = angles.cos(), angles.sin()
    rotary = torch.cat((cos, cos, -sin, sin), 1).view(tokens, 2, head_dim)
    kv_rows = torch.full((12, 2, kv_heads, head_dim), math.nan, dtype=dtype)
    slot_mapping = torch.tensor([7, 3, 11, 0, 4])

    query = rope_kv_write(qkv, rotary, kv_rows, slot_mapping, kv_heads)

    first, second = before.double()[..., :half], before.double()[..., half:]
    cos, sin = cos.double()[:, None], sin.double()[:, None]
    turned = torch.cat((first * cos - second * sin, second * cos + first * sin), -1)
    close(query, turned[:, :heads], dtype)
    close(kv_rows[slot_mapping, 0], turned[:, heads : heads + kv_heads], dtype)
    torch.testing.assert_close(kv_rows[slot_mapping, 1], before[:, heads + kv_heads :])
    untouched = sorted(set(range(12)) - set(slot_mapping.tolist()))
    assert kv_rows[untouched].isnan().all()


def test_block_copy_copies_a_whole_page_over_another():
    pages = torch.arange(5 * 6, dtype=torch.float32).view(5, 2, 3)
    before = pages.clone()
    block_copy(pages[0], pages[3])
    assert torch.equal(pages[3], before[0])
    others = [0, 1, 2, 4]
    assert torch.equal(pages[others], before[others])
