"""Whole blocks copied over others within the device: copy on write, all pairs of a step in one launch.

Moves between the device and the host are not here: the copy engines do them better than a kernel.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 4096  # words of 4 bytes that a program copies: four loads of 16 bytes in flight a thread


def copy_blocks(pages: Tensor, pairs: Tensor) -> None:
    """pages[destination] = pages[source] for every pair, all at once.

    So no block may be a destination twice, nor both a source and a destination. The copies of one step keep to that: a
    destination was taken for the step, and a source had been computed before it and cannot be taken while it runs.

    pages (blocks, …): contiguous within a block, of a multiple of 4 bytes; any dtype
    pairs (n, 2) int32: source, destination
    """
    page_bytes = pages[0].numel() * pages.element_size()
    assert pages[0].is_contiguous()
    assert page_bytes % 4 == 0
    assert pairs.is_contiguous()
    words = pages.flatten(1).view(torch.int32)  # (blocks, words)
    grid = (triton.cdiv(words.shape[1], _BLOCK), len(pairs))
    _copy_blocks[grid](
        words, pairs, words.stride(0), WORDS=words.shape[1], BLOCK=_BLOCK, num_warps=8, enable_fp_fusion=True
    )


@triton.jit(do_not_specialize=["pairs"])  # a slice of a packed buffer: its alignment varies from step to step
def _copy_blocks(words, pairs, stride, WORDS: tl.constexpr, BLOCK: tl.constexpr):
    """BLOCK words of one pair."""
    pair = pairs + tl.program_id(1) * 2
    source, destination = tl.load(pair).to(tl.int64), tl.load(pair + 1).to(tl.int64)
    word = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    exists = word < WORDS
    tl.store(words + destination * stride + word, tl.load(words + source * stride + word, exists), exists)
