"""Blocks of every dtype and of sizes around a program's share, copied bit by bit."""

import pytest
import torch
from pagelet_engine.kernels.triton.block_copy import copy_blocks


def bits(pages):
    return pages.flatten(1).view(torch.uint8)


@pytest.mark.parametrize(
    ("page_shape", "dtype"),
    [
        ((1, 16, 2, 1, 2), torch.bfloat16),
        ((30, 16, 2, 3, 8), torch.bfloat16),
        ((4, 4, 2, 4, 32), torch.float32),
        ((4, 4, 2, 4, 33), torch.float32),
        ((4099 * 4,), torch.uint8),
        ((3, 16, 2, 2, 64), torch.float8_e4m3fn),
    ],
)
def test_copies_pairs_and_leaves_all_other_blocks(generator, device, page_shape, dtype):
    pages = torch.randn(9, *page_shape, generator=generator).mul(50).to(device, dtype)
    before = bits(pages).clone()
    pairs = torch.tensor([[0, 8], [0, 3], [5, 2]], dtype=torch.int32, device=device)  # a block may be copied twice
    copy_blocks(pages, pairs)
    wanted = before[[0, 1, 5, 0, 4, 5, 6, 7, 0]]
    assert torch.equal(bits(pages), wanted)


def test_pages_may_lie_apart(generator, device):
    pool = torch.randn(4, 2, 100, generator=generator).to(device)
    before = pool.clone()
    copy_blocks(pool[:, 0], torch.tensor([[3, 1]], dtype=torch.int32, device=device))
    assert torch.equal(pool[:, 1], before[:, 1])
    assert torch.equal(pool[:, 0], before[[0, 3, 2, 3], 0])


def test_no_pairs_copy_nothing(device):
    pages = torch.ones(2, 4, device=device)
    copy_blocks(pages, torch.empty(0, 2, dtype=torch.int32, device=device))
    assert pages.eq(1).all()
