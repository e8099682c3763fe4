"""The largest of each row of logits: greedy sampling, and whether the row can be sampled from at all.

A row is cut into parts, a program each, when there are few rows; a second launch merges them. Every number becomes an
integer that sorts as the numbers do, with its index below it, so the result is one maximum whatever the order of its
making: always the same one.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 2048  # logits that a program reads at once: four loads of 16 bytes in flight a thread
_PROGRAMS = 512  # that fill a GPU: about four on each of its multiprocessors
_MOST_PARTS = 256


def argmax(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The first of the largest logits of each row, NaN being larger than everything; and 1 if it is finite, else 0.

    logits (rows, vocab) fp32, of any row stride → tokens (rows,) int32, sound (rows,) int32
    """
    rows, vocab = logits.shape
    assert logits.stride(1) == 1
    blocks = triton.cdiv(vocab, _BLOCK)
    parts = max(1, min(blocks, _MOST_PARTS, _PROGRAMS // max(1, rows)))
    blocks_a_part = triton.cdiv(blocks, parts)
    parts = triton.cdiv(blocks, blocks_a_part)
    best = torch.empty((rows, parts), dtype=torch.int64, device=logits.device)
    tokens, sound = torch.empty((2, rows), dtype=torch.int32, device=logits.device)
    _part_argmax[(rows, parts)](
        logits, best, logits.stride(0), blocks_a_part, VOCAB=vocab, BLOCK=_BLOCK, enable_fp_fusion=True
    )
    _merge_argmax[(rows,)](best, tokens, sound, parts, BLOCK=_MOST_PARTS, num_warps=1, enable_fp_fusion=True)
    return tokens, sound


@triton.jit(do_not_specialize=["blocks_a_part"])
def _part_argmax(logits, best, stride, blocks_a_part, VOCAB: tl.constexpr, BLOCK: tl.constexpr):
    """One part of one row → its largest (order << 32 | last - index)."""
    INFINITY: tl.constexpr = 0x7F800000  # its bits in fp32; NaN's size is beyond
    LAST: tl.constexpr = 0x7FFFFFFF
    row, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    largest = tl.full((BLOCK,), -(1 << 63), tl.int64)
    for block in range(part * blocks_a_part, (part + 1) * blocks_a_part):
        token = block * BLOCK + tl.arange(0, BLOCK)
        numbers = tl.load(logits + row * stride + token, token < VOCAB, other=float("-inf"))
        bits = numbers.to(tl.int32, bitcast=True)
        size = bits & LAST
        order = tl.where(size > INFINITY, LAST, tl.where(bits < 0, -size, size))  # -0 and 0 alike
        largest = tl.maximum(largest, (order.to(tl.int64) << 32) | (LAST - token).to(tl.int64))
    tl.store(best + row * tl.num_programs(1) + part, tl.max(largest, 0))


@triton.jit(do_not_specialize=["parts", "tokens", "sound"])
def _merge_argmax(best, tokens, sound, parts, BLOCK: tl.constexpr):
    """One row: the largest of its parts."""
    INFINITY: tl.constexpr = 0x7F800000
    LAST: tl.constexpr = 0x7FFFFFFF
    row = tl.program_id(0).to(tl.int64)
    part = tl.arange(0, BLOCK)
    largest = tl.max(tl.load(best + row * parts + part, part < parts, other=-(1 << 63)), 0)
    order = (largest >> 32).to(tl.int32)
    tl.store(tokens + row, LAST - (largest & LAST).to(tl.int32))
    tl.store(sound + row, ((order < INFINITY) & (order > -INFINITY)).to(tl.int32))
