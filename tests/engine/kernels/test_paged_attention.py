"""Paged attention against float64, sequence by sequence and head by head, in a pool whose unused slots are NaN."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from pagelet_engine.kernels.reference.paged_attention import AttentionPlan, paged_attention, plan_attention
from torch import Tensor

NUM_LAYERS, LAYER = 3, 1
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2e-2, torch.float16: 2e-3}


@dataclass
class Case:
    """Sequences of random tokens, scattered over the pages of a pool that is NaN elsewhere."""

    query: Tensor  # (tokens, heads, head_dim)
    keys: list[Tensor]  # (seq_len, kv_heads, head_dim) each
    values: list[Tensor]
    kv_rows: Tensor
    cu_query_lens: np.ndarray
    seq_lens: np.ndarray
    block_table: np.ndarray
    block_size: int
    window: int | None

    def plan(self) -> AttentionPlan:
        return plan_attention(
            self.cu_query_lens,
            self.seq_lens,
            self.block_table,
            block_size=self.block_size,
            page_rows=NUM_LAYERS * self.block_size,
            window=self.window,
        )

    def oracle(self, scale: float, soft_cap: float) -> Tensor:
        heads, kv_heads = self.query.shape[1], self.keys[0].shape[1]
        output = torch.empty(self.query.shape, dtype=torch.float64)
        for seq, (key, value) in enumerate(zip(self.keys, self.values, strict=True)):
            tokens = slice(int(self.cu_query_lens[seq]), int(self.cu_query_lens[seq + 1]))
            position = torch.arange(len(key))[tokens.start - tokens.stop :, None]
            visible = torch.arange(len(key)) <= position
            if self.window is not None:
                visible &= torch.arange(len(key)) > position - self.window
            for head in range(heads):
                of = head // (heads // kv_heads)
                scores = self.query[tokens, head].double() @ key[:, of].double().T * scale
                if soft_cap:
                    scores = soft_cap * (scores / soft_cap).tanh()
                output[tokens, head] = scores.where(visible, -math.inf).softmax(-1) @ value[:, of].double()
        return output


def make_case(lengths, heads, kv_heads, head_dim, block_size, dtype=torch.float32, window=None, seed=0) -> Case:
    """lengths: (query tokens, tokens in all) of each sequence."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    query_lens, seq_lens = np.array(lengths, np.int64).T
    num_blocks = [-(-length // block_size) for length in seq_lens]
    pages = torch.full((sum(num_blocks) + 3, NUM_LAYERS, block_size, 2, kv_heads, head_dim), math.nan, dtype=dtype)
    free = torch.randperm(len(pages), generator=generator).tolist()
    block_table = np.full((len(lengths), max(num_blocks)), -(10**9))
    keys, values = [], []
    for seq, length in enumerate(seq_lens):
        key, value = random(length, kv_heads, head_dim), random(length, kv_heads, head_dim)
        block_table[seq, : num_blocks[seq]] = [free.pop() for _ in range(num_blocks[seq])]
        behind = 0 if window is None else max(0, length - query_lens[seq] - window + 1)
        for position in range(behind, length):
            page = pages[block_table[seq, position // block_size], LAYER, position % block_size]
            page[0], page[1] = key[position], value[position]
        block_table[seq, : behind // block_size] = -(10**9)  # freed: never to be followed
        keys.append(key)
        values.append(value)
    return Case(
        query=random(int(query_lens.sum()), heads, head_dim),
        keys=keys,
        values=values,
        kv_rows=pages.view(-1, 2, kv_heads, head_dim)[LAYER * block_size :],
        cu_query_lens=np.concatenate(([0], np.cumsum(query_lens))),
        seq_lens=seq_lens,
        block_table=block_table,
        block_size=block_size,
        window=window,
    )


def check(case: Case, dtype: torch.dtype = torch.float32, soft_cap: float = 0.0) -> None:
    scale = case.query.shape[-1] ** -0.5
    output = paged_attention(case.query, case.kv_rows, case.plan(), scale, soft_cap)
    assert output.dtype == dtype
    torch.testing.assert_close(output.double(), case.oracle(scale, soft_cap), rtol=0, atol=TOLERANCE[dtype])


MIXES = {
    "one token": [(1, 1)],
    "one decode": [(1, 17)],
    "decodes at block borders": [(1, 15), (1, 16), (1, 17), (1, 32), (1, 33)],
    "decodes of equal length": [(1, 20)] * 4,
    "decodes of very different lengths": [(1, 1), (1, 130), (1, 4), (1, 77), (1, 128)],
    "whole prompts": [(5, 5), (16, 16), (33, 33)],
    "chunks behind a prefix": [(7, 24), (16, 48), (2, 3), (31, 64)],
    "everything at once, in no order": [(9, 9), (1, 40), (5, 21), (1, 1), (17, 33), (1, 16)],
}


@pytest.mark.parametrize("window", [None, 1, 5, 16, 40])
@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES.keys())
def test_agrees_with_the_oracle_on_any_mix_and_window(mix, window):
    check(make_case(mix, heads=6, kv_heads=2, head_dim=16, block_size=16, window=window))


@pytest.mark.parametrize(("heads", "kv_heads"), [(1, 1), (4, 4), (9, 3), (7, 1), (8, 1), (8, 2)])
@pytest.mark.parametrize("block_size", [1, 3, 16, 32])
def test_agrees_with_the_oracle_for_any_group_of_heads_and_block_size(heads, kv_heads, block_size):
    check(make_case([(1, 19), (1, 33), (11, 11), (4, 21)], heads, kv_heads, head_dim=8, block_size=block_size))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("head_dim", [64, 80, 128])
def test_half_precision_stays_within_its_rounding(dtype, head_dim):
    case = make_case([(1, 40), (1, 23), (12, 30), (13, 13)], 6, 2, head_dim, block_size=16, dtype=dtype)
    check(case, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("window", [None, 7])
def test_scores_are_capped_softly(window, dtype):
    mix = MIXES["everything at once, in no order"]
    check(make_case(mix, 6, 2, 16, block_size=16, dtype=dtype, window=window), dtype, soft_cap=0.7)


def test_a_chunk_too_large_for_one_mask_is_attended_in_pieces():
    case = make_case([(2048, 2200), (1, 10)], heads=2, kv_heads=1, head_dim=8, block_size=16)
    assert [len(gather.pieces) for gather in case.plan().gathers] == [1, 2]
    check(case)


def test_similar_decodes_are_gathered_together_and_others_are_not_padded_to_them():
    lengths = [(1, 100), (1, 10), (1, 99), (1, 9), (1, 98)]
    plan = make_case(lengths, heads=2, kv_heads=1, head_dim=8, block_size=16).plan()
    assert sorted((gather.num_seqs, gather.pieces[0].context) for gather in plan.gathers) == [(2, 10), (3, 100)]
