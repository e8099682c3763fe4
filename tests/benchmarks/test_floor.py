"""The floor against sums that are written out, for a model small enough to count by hand."""

from dataclasses import replace

import pytest
from cpu.floor import Rates, Work, floor_s, work_of
from cpu.steps import Span
from pagelet_api import sizes
from pagelet_api.sizes import ModelShape

SHAPE = ModelShape(
    architecture="LlamaForCausalLM",
    hidden_size=8,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=2,
    intermediate_size=5,
    vocab_size=11,
    max_position=64,
    windows=(None, None),
    tie_word_embeddings=True,
)
LAYER = 8 * 8 + 8 * 4 + 8 * 4 + 8 * 8 + 3 * 8 * 5  # q, k, v, o, and the MLP
NORMS = 2 * 2 * 8 + 8
HEAD = 8 * 11
KV = 2 * 2 * 2 * 2  # numbers a token: K and V, of 2 layers, 2 heads, 2 wide
BLOCK = 4


def test_a_prompt_reads_every_weight_once_and_writes_its_keys_and_values() -> None:
    work = work_of((Span(0, 3, (), draws=True),), SHAPE, "float32", "none", BLOCK)
    attention = 2 * (1 + 2 + 3) * 4 * (2 * 2 + 2 * 2)  # layers, keys of the three queries, heads, scores and values
    assert work.flops == 2 * 3 * 2 * LAYER + attention + 2 * HEAD
    assert work.num_bytes == 4 * (2 * LAYER + NORMS + 3 * 8 + HEAD + 3 * KV)


def test_a_step_that_draws_nothing_does_not_read_the_head() -> None:
    drawing, silent = (work_of((Span(0, 3, (), draws),), SHAPE, "float32", "none", BLOCK) for draws in (True, False))
    assert drawing.flops - silent.flops == 2 * HEAD
    assert drawing.num_bytes - silent.num_bytes == 4 * HEAD


def test_bfloat16_moves_half_the_bytes_for_the_same_flops() -> None:
    step = (Span(5, 1, (0, 1), draws=True),)
    single, half = (work_of(step, SHAPE, dtype, "none", BLOCK) for dtype in ("float32", "bfloat16"))
    assert half == Work(single.flops, single.num_bytes // 2)


def test_a_decode_step_reads_the_tokens_before_it() -> None:
    one, other = (work_of((Span(start, 1, (0, 1), draws=True),), SHAPE, "float32", "none", BLOCK) for start in (5, 7))
    assert other.num_bytes - one.num_bytes == 4 * 2 * KV
    assert other.flops - one.flops == 2 * 2 * 4 * (2 * 2 + 2 * 2)


def test_a_shared_block_is_read_once_and_own_blocks_apart() -> None:
    alone = work_of((Span(8, 1, (0, 1), draws=True),), SHAPE, "float32", "none", BLOCK)
    both = work_of((Span(8, 1, (0, 1), draws=True), Span(8, 1, (0, 2), draws=True)), SHAPE, "float32", "none", BLOCK)
    assert both.num_bytes - alone.num_bytes == 4 * (8 + KV + 4 * KV)  # an embedding, its K and V, its own block
    assert both.flops == 2 * alone.flops


def test_one_chunk_costs_the_flops_of_its_pieces() -> None:
    whole = work_of((Span(0, 8, (), draws=True),), SHAPE, "float32", "none", BLOCK)
    first = work_of((Span(0, 4, (), draws=False),), SHAPE, "float32", "none", BLOCK)
    second = work_of((Span(4, 4, (0,), draws=True),), SHAPE, "float32", "none", BLOCK)
    assert whole.flops == first.flops + second.flops


def test_a_sliding_window_bounds_what_is_read_and_computed() -> None:
    windowed = replace(SHAPE, windows=(3, 3))
    spans = (Span(4, 1, (0,), draws=True), Span(40, 1, tuple(range(10)), draws=True))
    near, far = (work_of((span,), windowed, "float32", "none", BLOCK) for span in spans)
    assert near == far
    attention = 2 * 3 * 4 * (2 * 2 + 2 * 2)  # three keys
    assert far.flops == 2 * 2 * LAYER + attention + 2 * HEAD
    assert far.num_bytes == 4 * (2 * LAYER + NORMS + 8 + HEAD + (2 + 1) * KV)  # two keys from before, one written


def test_quantised_weights_move_fewer_bytes_for_the_same_flops() -> None:
    step = (Span(5, 1, (0, 1), draws=True),)
    plain, int8 = (work_of(step, SHAPE, "float32", quantization, BLOCK) for quantization in ("none", "int8"))
    held, packed = (sizes.weight_bytes(SHAPE, "float32", quantization) for quantization in ("none", "int8"))
    assert int8 == Work(plain.flops, plain.num_bytes - held + packed)


def test_each_step_takes_the_larger_of_its_two_times() -> None:
    rates = Rates(flops_per_s=100.0, bytes_per_s=10.0)
    assert floor_s([Work(1000, 10), Work(100, 50)], rates) == pytest.approx(10.0 + 5.0)
    assert floor_s([], rates) == 0
