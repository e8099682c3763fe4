"""Rows of whole tables and of a rank's part."""

import pytest
import torch
from pagelet_engine.kernels.triton.embedding import embedding


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("rows", "hidden"), [(1, 1), (11, 96), (64, 576), (7, 2100)])
def test_takes_rows(generator, device, rows, hidden, dtype):
    weight = torch.randn(rows, hidden, generator=generator).to(device, dtype)
    token_ids = torch.randint(rows, (13,), generator=generator).to(device)
    assert torch.equal(embedding(token_ids.int(), weight), weight[token_ids])


def test_the_parts_of_all_ranks_sum_to_the_whole(generator, device):
    weight = torch.randn(12, 40, generator=generator).to(device)  # a vocabulary of 11, in three parts of four rows
    token_ids = torch.randint(11, (20,), generator=generator).to(device)
    parts = [embedding(token_ids.int(), weight[first : first + 4], first) for first in (0, 4, 8)]
    assert torch.equal(sum(parts), weight[token_ids])


def test_a_token_of_no_row_gives_zeros_and_reads_nothing(device):
    weight = torch.full((6, 8), torch.nan, device=device)
    weight[2:4] = 1
    token_ids = torch.tensor([-1, 9, 12, (1 << 31) - 1, -(1 << 31), 10], dtype=torch.int32, device=device)
    taken = embedding(token_ids, weight[2:4], first_token=10)
    assert taken[:5].eq(0).all()
    assert taken[5].eq(1).all()


def test_scale_and_product_are_rounded_to_the_weights_dtype(generator, device):
    weight = torch.randn(5, 64, generator=generator).to(device, torch.float16)
    token_ids = torch.arange(5, dtype=torch.int32, device=device)
    scaled = embedding(token_ids, weight, scale=640**0.5)
    assert torch.equal(scaled, weight * weight.new_tensor(640**0.5))
