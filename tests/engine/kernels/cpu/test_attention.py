"""Rotation, cache and attention together, against float64; every slot that nobody wrote holds NaN."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pagelet_engine.kernels.cpu.library import Library
from pagelet_engine.kernels.cpu.ops import CpuOps

from tests.engine.kernels.cpu.conftest import LIBRARY_UNDER_TEST, Cache, Sequence_, step_of, usable_levels

TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 2e-2}
THETA = 10_000.0


def frequencies(head_dim: int) -> torch.Tensor:
    return 1.0 / THETA ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)


def tokens_of(name: int, length: int, cache: Cache) -> torch.Tensor:
    """(length, heads + 2 × kv_heads, head_dim): what sequence `name` computes, the same whenever it is asked."""
    generator = torch.Generator().manual_seed(1000 + name)
    return torch.randn(length, cache.num_heads + 2 * cache.num_kv_heads, cache.head_dim, generator=generator).to(
        cache.dtype
    )


def run(
    ops: CpuOps,
    cache: Cache,
    parts: list[tuple[torch.Tensor, Sequence_]],
    soft_cap: float = 0.0,
    norms: tuple[torch.Tensor, torch.Tensor, float] | tuple[()] = (),
) -> torch.Tensor:
    """One step: each part's tokens from its sequence's start on → (tokens, heads, head_dim). norms: the weights of
    query heads' and of key heads', and epsilon."""
    qkv = torch.cat([own[each.start : each.start + each.length] for own, each in parts]).contiguous()
    held = step_of([each for _, each in parts], cache.block_size, cache.window)
    rotary = ops.rotary(held.step, frequencies(cache.head_dim))
    ops.rope_kv_write(held.step, qkv, rotary, cache.layer(), *norms)
    out = ops.paged_attention(held.step, qkv, cache.layer(), cache.head_dim**-0.5, soft_cap)
    return out.view(len(qkv), cache.num_heads, cache.head_dim)


def oracle(own: torch.Tensor, cache: Cache, soft_cap: float = 0.0) -> torch.Tensor:
    """Of a whole sequence, in float64, keys and values rounded as the cache holds them."""
    length, wide = len(own), own.double()
    angles = torch.arange(length, dtype=torch.float32)[:, None] * frequencies(cache.head_dim)
    cos, sin = angles.double().cos()[:, None], angles.double().sin()[:, None]
    a, b = wide[:, : cache.num_heads + cache.num_kv_heads].chunk(2, dim=-1)
    rotated = torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(cache.dtype).double()
    query, key = rotated[:, : cache.num_heads], rotated[:, cache.num_heads :]
    value = wide[:, cache.num_heads + cache.num_kv_heads :]
    group = cache.num_heads // cache.num_kv_heads
    key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    scores = torch.einsum("qhd,khd->hqk", query, key) * cache.head_dim**-0.5
    if soft_cap:
        scores = soft_cap * torch.tanh(scores / soft_cap)
    position = torch.arange(length)
    visible = position[None] <= position[:, None]
    if cache.window:
        visible &= position[None] > position[:, None] - cache.window
    weights = scores.masked_fill(~visible, -math.inf).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weights, value)


def blocks_for(length: int, cache: Cache, first: int = 0) -> tuple[int, ...]:
    """Every second block, so that none follows another."""
    return tuple(first + 2 * i for i in range(-(-length // cache.block_size)))


def assert_near(found: torch.Tensor, wanted: torch.Tensor, dtype: torch.dtype) -> None:
    torch.testing.assert_close(found.double(), wanted, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


SHAPES = [  # heads, KV heads, head_dim, block_size
    (3, 1, 64, 16),
    (4, 4, 16, 32),
    (7, 1, 80, 16),
    (8, 1, 128, 48),
    (18, 1, 32, 128),
    (6, 2, 96, 64),
]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("length", [1, 17, 256, 530])
def test_a_prompt_attends_to_itself(ops, dtype, shape, length):
    cache = Cache(*shape, dtype, num_blocks=128)
    own = tokens_of(0, length, cache)
    found = run(ops, cache, [(own, Sequence_(0, length, blocks_for(length, cache)))])
    assert_near(found, oracle(own, cache), dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("window", "soft_cap"), [(0, 5.0), (1, 0.0), (20, 0.0), (256, 0.0), (300, 2.0)])
def test_windows_and_soft_caps_in_prompts_and_in_single_tokens(ops, dtype, window, soft_cap):
    cache = Cache(6, 2, 32, 16, dtype, num_blocks=128, window=window)
    own = tokens_of(0, 600, cache)
    blocks = blocks_for(600, cache)
    wanted = oracle(own, cache, soft_cap)
    found = run(ops, cache, [(own, Sequence_(0, 599, blocks))], soft_cap)
    assert_near(found, wanted[:599], dtype)
    assert_near(run(ops, cache, [(own, Sequence_(599, 1, blocks))], soft_cap), wanted[599:], dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_query_and_key_heads_are_normalised_before_they_are_rotated(ops, dtype, shape):
    cache = Cache(*shape, dtype, num_blocks=128)
    own, eps = tokens_of(0, 40, cache), 0.1
    q_norm, k_norm = torch.rand(2, cache.head_dim) + 0.5
    found = run(ops, cache, [(own, Sequence_(0, 40, blocks_for(40, cache)))], norms=(q_norm, k_norm, eps))

    heads, values = own.double().split([cache.num_heads + cache.num_kv_heads, cache.num_kv_heads], dim=1)
    weight = torch.cat((q_norm.expand(cache.num_heads, -1), k_norm.expand(cache.num_kv_heads, -1))).double()
    normed = heads / (heads.square().mean(-1, keepdim=True) + eps).sqrt() * weight
    assert_near(found, oracle(torch.cat((normed, values), dim=1).to(dtype), cache), dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("window", [0, 100])
def test_a_token_is_the_same_bits_alone_in_any_batch_at_any_chunking_with_any_threads(make_ops, dtype, window):
    one, two = make_ops(1), make_ops(2)
    lengths = [600, 33, 1, 258]

    def fresh() -> Cache:
        return Cache(6, 2, 64, 16, dtype, num_blocks=400, window=window)

    cache = fresh()
    own = [tokens_of(name, length, cache) for name, length in enumerate(lengths)]
    firsts = list(itertools.accumulate((2 * (length // 16 + 1) for length in lengths[:-1]), initial=0))
    blocks = [blocks_for(length, cache, first) for length, first in zip(lengths, firsts, strict=True)]
    alone = [
        run(one, fresh(), [(tokens, Sequence_(0, len(tokens), own_blocks))])
        for tokens, own_blocks in zip(own, blocks, strict=True)
    ]
    together = run(two, cache, [(t, Sequence_(0, len(t), b)) for t, b in zip(own, blocks, strict=True)])
    assert torch.equal(together, torch.cat(alone))

    for chunk in (7, 250):
        cache, found = fresh(), [[] for _ in own]
        for first in range(0, max(lengths), chunk):
            live = [i for i, length in enumerate(lengths) if first < length]
            parts = [(own[i], Sequence_(first, min(chunk, lengths[i] - first), blocks[i])) for i in live]
            step = run(two, cache, parts)
            for i, piece in zip(live, step.split([each.length for _, each in parts]), strict=True):
                found[i].append(piece)
        for mine, wanted in zip(found, alone, strict=True):
            assert torch.equal(torch.cat(mine), wanted)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_sequences_that_share_blocks_get_the_bits_that_each_gets_alone(make_ops, dtype):
    two = make_ops(2)
    cache = Cache(6, 2, 64, 16, dtype, num_blocks=300)
    prefix = tokens_of(99, 512, cache)
    shared = blocks_for(512, cache)
    run(two, cache, [(prefix, Sequence_(0, 512, shared))])
    # 20 sequences behind one prefix of two segments, with tails of their own.
    parts = []
    for name in range(20):
        tail = tokens_of(name, 1 + name % 3, cache)
        own = torch.cat((prefix, tail))
        blocks = (*shared, 101 + 2 * name)
        if len(tail) > 1:
            run(two, cache, [(own, Sequence_(512, len(tail) - 1, blocks))])
        parts.append((own, Sequence_(511 + len(tail), 1, blocks)))
    together = run(two, cache, parts)
    assert torch.equal(together, torch.cat([run(two, cache, [part]) for part in parts]))
    for found, (own, _) in zip(together, parts, strict=True):
        assert_near(found, oracle(own, cache)[-1], dtype)


@given(data=st.data(), level=st.sampled_from(usable_levels() or ("none",)), dtype=st.sampled_from(list(TOLERANCE)))
@settings(max_examples=40)
def test_any_mix_of_chunks_and_single_tokens(data, level, dtype):
    if level == "none":
        pytest.skip("missing: the C++ ops")
    kv_heads, group = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 9))
    head_dim, block_size = 16 * data.draw(st.integers(1, 9)), 16 * data.draw(st.integers(1, 8))
    window = data.draw(st.sampled_from([0, 1, 30, 257]))
    cache = Cache(kv_heads * group, kv_heads, head_dim, block_size, dtype, num_blocks=256, window=window)
    ops = CpuOps(Library(LIBRARY_UNDER_TEST).open(data.draw(st.integers(1, 2)), level))
    lengths = data.draw(st.lists(st.integers(1, 300), min_size=1, max_size=4))
    order = iter(torch.randperm(256, generator=torch.Generator().manual_seed(0)).tolist())
    sequences = [
        (tokens_of(name, length, cache), tuple(itertools.islice(order, -(-length // block_size))))
        for name, length in enumerate(lengths)
    ]
    done = [0] * len(sequences)
    found: list[list[torch.Tensor]] = [[] for _ in sequences]
    while live := [i for i, length in enumerate(lengths) if done[i] < length]:
        chunks = [data.draw(st.sampled_from([1, 1, 5, 16, 200])) for _ in live]
        parts = [
            (sequences[i][0], Sequence_(done[i], min(chunk, lengths[i] - done[i]), sequences[i][1]))
            for i, chunk in zip(live, chunks, strict=True)
        ]
        step = run(ops, cache, parts)
        for i, (_, each), piece in zip(live, parts, step.split([each.length for _, each in parts]), strict=True):
            found[i].append(piece)
            done[i] += each.length
        if len(found[live[0]]) > 12:  # enough single tokens: the rest in one piece
            lengths = [min(length, reached) for length, reached in zip(lengths, done, strict=True)]
    for (own, _), pieces, length in zip(sequences, found, done, strict=True):
        assert_near(torch.cat(pieces), oracle(own[:length], cache), dtype)
    ops.native.close()
