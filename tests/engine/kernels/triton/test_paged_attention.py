"""Paged attention against plain float64 attention over the same pages, every slot that nobody wrote being NaN."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
from pagelet_engine.kernels.triton.attention_tiles import choose_splits, choose_tiles
from pagelet_engine.kernels.triton.paged_attention import paged_attention
from pagelet_engine.kernels.triton.target import Target
from torch import Tensor

TOLERANCE = {torch.float32: 2e-5, torch.float16: 3e-3, torch.bfloat16: 2e-2}
GARBAGE = 10**6
"""What unused entries of a block table name: no block, and nowhere near one."""


@dataclass(frozen=True)
class Shape:
    heads: int = 4
    kv_heads: int = 1
    head_dim: int = 64
    block_size: int = 16
    dtype: torch.dtype = torch.float32
    window: int | None = None
    soft_cap: float = 0.0
    fp8: bool = False


Check = Callable[..., None]


@pytest.fixture
def check(device: torch.device, generator: torch.Generator) -> Check:
    """(shape, sequences, …): compares every token of a step of (query length, length in the cache) sequences."""

    def run(
        shape: Shape, sequences: Sequence[tuple[int, int]], *, num_splits: int = 1, max_query_len: int | None = None
    ) -> None:
        step = make_step(shape, sequences, generator)
        out = paged_attention(
            step.query.to(device),
            step.kv.to(device),
            step.block_tables.to(device),
            step.cu_query_lens.to(device),
            step.seq_lens.to(device),
            step.seq_slots.to(device),
            scale=step.scale,
            max_query_len=max_query_len or max(1, *(length for length, _ in sequences)),
            window=shape.window,
            soft_cap=shape.soft_cap,
            kv_scales=None if step.kv_scales is None else step.kv_scales.to(device),
            num_splits=num_splits,
        )
        assert out.shape == step.query.shape
        used = int(step.cu_query_lens[-1])
        expected = attend(shape, step)
        # Products over an fp8 cache are of fp16, whatever the query's dtype is.
        tolerance = max(TOLERANCE[shape.dtype], TOLERANCE[torch.float16] if shape.fp8 else 0)
        torch.testing.assert_close(out[:used].cpu().double(), expected, atol=tolerance, rtol=tolerance)

    return run


@dataclass(frozen=True)
class Step:
    query: Tensor  # (tokens + 3 of padding, heads, head_dim), a view of a fused projection
    kv: Tensor  # (blocks, block_size, 2, kv_heads, head_dim), a view of pages of two layers
    kv_scales: Tensor | None
    block_tables: Tensor
    cu_query_lens: Tensor
    seq_lens: Tensor
    seq_slots: Tensor
    scale: float


def make_step(shape: Shape, sequences: Sequence[tuple[int, int]], generator: torch.Generator) -> Step:
    """Sequences of (query length, length in the cache) in pages scattered over a pool."""
    lengths = [length for _, length in sequences]
    blocks_of = [-(-length // shape.block_size) for length in lengths]
    order = (torch.randperm(sum(blocks_of) + 2, generator=generator) + 1).tolist()
    slots = torch.randperm(len(sequences) + 2, generator=generator)[: len(sequences)]
    tables = torch.full((len(sequences) + 2, max(1, *blocks_of) + 1), GARBAGE, dtype=torch.int32)
    row = (shape.block_size, 2, shape.kv_heads)
    pages = torch.full((len(order) + 1, 2, *row, shape.head_dim), math.nan)
    scales = torch.full((len(order) + 1, 2, *row), math.nan)
    kv, kv_scales = pages[:, 1], scales[:, 1]
    for (query_len, length), count, slot in zip(sequences, blocks_of, slots.tolist(), strict=True):
        first_seen = 0 if shape.window is None else max(0, length - query_len - shape.window + 1)
        for index in range(count):
            block = order.pop()
            written = range(
                max(index * shape.block_size, first_seen), min((index + 1) * shape.block_size, length)
            )  # what fell out of the window may be anybody's by now
            if written:
                tables[slot, index] = block
            for position in written:
                kv[block, position % shape.block_size] = torch.randn(
                    2, shape.kv_heads, shape.head_dim, generator=generator
                )
    if shape.fp8:
        kv_scales.copy_(kv.abs().amax(-1) / 448)
        pages = (pages / scales[..., None]).to(torch.float8_e4m3fn)
    else:
        pages = pages.to(shape.dtype)
    tokens = sum(query_len for query_len, _ in sequences)
    qkv = torch.randn(tokens + 3, shape.heads + 2 * shape.kv_heads, shape.head_dim, generator=generator)
    return Step(
        query=qkv.to(shape.dtype)[:, : shape.heads],
        kv=pages[:, 1],
        kv_scales=kv_scales if shape.fp8 else None,
        block_tables=tables,
        cu_query_lens=torch.tensor([0, *itertools.accumulate(n for n, _ in sequences)], dtype=torch.int32),
        seq_lens=torch.tensor(lengths, dtype=torch.int32),
        seq_slots=slots.to(torch.int32),
        scale=shape.head_dim**-0.5,
    )


def attend(shape: Shape, step: Step) -> Tensor:
    """The definition, a token and a head at a time, in float64."""
    rows = []
    group = shape.heads // shape.kv_heads
    for seq, (begin, end) in enumerate(itertools.pairwise(step.cu_query_lens.tolist())):
        length = int(step.seq_lens[seq])
        table = step.block_tables[int(step.seq_slots[seq])].tolist()
        for token in range(begin, end):
            position = length - (end - token)
            first = 0 if shape.window is None else max(0, position - shape.window + 1)
            cached = []
            for each in range(first, position + 1):
                block, slot = table[each // shape.block_size], each % shape.block_size
                number = step.kv[block, slot].double()  # (2, kv_heads, head_dim)
                cached.append(number if step.kv_scales is None else number * step.kv_scales[block, slot, :, :, None])
            keys, values = torch.stack(cached, 1).repeat_interleave(group, 2)  # (keys, heads, head_dim) each
            logits = torch.einsum("hd,khd->hk", step.query[token].double(), keys) * step.scale
            if shape.soft_cap:
                logits = shape.soft_cap * torch.tanh(logits / shape.soft_cap)
            rows.append(torch.einsum("hk,khd->hd", logits.softmax(-1), values))
    return torch.stack(rows) if rows else torch.empty(0, shape.heads, shape.head_dim, dtype=torch.float64)


MIXED = ((1, 1), (1, 33), (5, 5), (0, 0), (7, 40), (1, 16), (20, 21))
DECODES = ((1, 1), (1, 15), (1, 16), (1, 17), (0, 0), (1, 70))


@pytest.mark.parametrize("heads", [1, 3, 4, 7, 8])
def test_chunks_and_decodes_share_one_launch_for_groups_of(check: Check, heads: int) -> None:
    check(Shape(heads=heads), MIXED)


@pytest.mark.parametrize("heads", [2, 6, 14])
def test_decodes_alone_read_each_kv_head_for_its_group_of(check: Check, heads: int) -> None:
    check(Shape(heads=heads, kv_heads=2), DECODES)


@pytest.mark.parametrize("head_dim", [64, 80, 96, 128, 256])
def test_heads_need_not_be_a_power_of_two(check: Check, head_dim: int) -> None:
    check(Shape(head_dim=head_dim, dtype=torch.float16), ((1, 18), (4, 37)))
    check(Shape(head_dim=head_dim, dtype=torch.float16), ((1, 18), (1, 65)), num_splits=2)


@pytest.mark.parametrize("block_size", [16, 32, 64, 128])
@pytest.mark.parametrize("difference", [-1, 0, 1])
def test_contexts_end_around_the_border_of_a_block(check: Check, block_size: int, difference: int) -> None:
    length = block_size + difference
    check(Shape(block_size=block_size, heads=2), ((1, length), (length, length), (2, length + block_size)))


@pytest.mark.parametrize("window", [1, 5, 16, 64])
def test_a_window_hides_what_fell_out_of_it(check: Check, window: int) -> None:
    check(Shape(window=window), ((1, 100), (3, 3), (40, 90), (1, 1)))


def test_decodes_look_no_further_back_than_their_window(check: Check) -> None:
    check(Shape(window=40), ((1, 100), (1, 40), (1, 41), (1, 1)))
    check(Shape(window=40), ((1, 100), (1, 40), (1, 41), (1, 1)), num_splits=3)


def test_logits_are_capped_softly(check: Check) -> None:
    check(Shape(soft_cap=2.0), ((1, 50), (9, 30)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_accumulated_in_full(check: Check, dtype: torch.dtype) -> None:
    check(Shape(dtype=dtype, heads=8, kv_heads=2), ((1, 100), (30, 75)))


def test_an_fp8_cache_is_read_with_its_scales(check: Check) -> None:
    check(Shape(fp8=True, dtype=torch.bfloat16), ((1, 37), (9, 30)))
    check(Shape(fp8=True, dtype=torch.bfloat16), ((1, 37), (1, 80)), num_splits=2)


@pytest.mark.parametrize("num_splits", [2, 3, 8])
def test_splits_of_a_context_merge_into_one_answer(check: Check, num_splits: int) -> None:
    """Eight are more than there are tiles: the others see nothing."""
    check(Shape(heads=3), ((1, 150), (1, 1), (1, 64), (0, 0)), num_splits=num_splits)


def test_splits_serve_chunks_too(check: Check) -> None:
    check(Shape(window=50), MIXED, num_splits=3)


def test_padded_rows_alone_write_nothing_that_counts(check: Check) -> None:
    check(Shape(), ((0, 0), (0, 0)), max_query_len=1)


def test_a_bound_on_query_lengths_need_not_be_reached(check: Check) -> None:
    check(Shape(), MIXED, max_query_len=500)


@pytest.mark.nightly
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("head_dim", [64, 80, 96, 128, 256])
@pytest.mark.parametrize(("block_size", "group"), [(16, 1), (32, 3), (64, 4), (128, 7), (16, 8)])
@pytest.mark.parametrize(("window", "soft_cap", "fp8"), [(None, 0.0, False), (33, 5.0, False), (33, 0.0, True)])
def test_every_shape_serves_every_step(
    check: Check,
    dtype: torch.dtype,
    head_dim: int,
    block_size: int,
    group: int,
    window: int | None,
    soft_cap: float,
    fp8: bool,
) -> None:
    shape = Shape(2 * group, 2, head_dim, block_size, dtype, window, soft_cap, fp8)
    check(shape, ((1, block_size + 1), (17, 2 * block_size - 1), (0, 0), (1, 1), (40, 90), (3, block_size)))
    for num_splits in (1, 2, 5):
        check(shape, ((1, block_size), (1, 3 * block_size + 1), (1, 200), (1, 1)), num_splits=num_splits)


def test_few_long_sequences_are_split_and_many_are_not() -> None:
    assert choose_splits(1, 8, 32768, num_sms=132) == 64
    assert choose_splits(32, 8, 32768, num_sms=132) == 2
    assert choose_splits(256, 8, 32768, num_sms=132) == 1
    assert choose_splits(1, 8, 100, num_sms=132) == 1


@pytest.mark.parametrize(
    "target", [Target("cuda", 80), Target("cuda", 89), Target("cuda", 90), Target("hip", "gfx942")]
)
@pytest.mark.parametrize("head_dim", [64, 128, 256])
@pytest.mark.parametrize("max_query_len", [1, 16, 4096])
def test_tiles_fit_into_the_shared_memory_of(target: Target, head_dim: int, max_query_len: int) -> None:
    tiles = choose_tiles(head_dim, 4, 2, 2, max_query_len, target)
    held = tiles.rows + 2 * tiles.keys * tiles.num_stages
    assert held * head_dim * 2 <= target.shared_bytes
