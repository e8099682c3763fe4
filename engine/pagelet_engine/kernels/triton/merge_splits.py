"""Merges what the splits of paged attention found, each over its own part of a sequence's keys.

out = Σ_s 2^(m_s - M) · acc_s / Σ_s 2^(m_s - M) · l_s,   M = max_s m_s
"""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit(do_not_specialize=["num_splits"])
def _merge_splits(
    partial_ptr,  # (tokens, heads, splits, head_dim) fp32: acc
    stats_ptr,  # (tokens, heads, splits, 2) fp32: m, l
    out_ptr,  # (tokens, heads, head_dim)
    num_splits,
    out_token_stride,
    out_head_stride,
    HEAD_DIM: tl.constexpr,
    DIM: tl.constexpr,
    SPLITS: tl.constexpr,
):
    token = tl.program_id(0)
    head = tl.program_id(1)
    row = token.to(tl.int64) * tl.num_programs(1) + head
    split = tl.arange(0, SPLITS)
    dim = tl.arange(0, DIM)
    is_split = split < num_splits
    stats = stats_ptr + (row * num_splits + split) * 2
    row_max = tl.load(stats, mask=is_split, other=-float("inf"))
    row_sum = tl.load(stats + 1, mask=is_split, other=0.0)
    weight = tl.exp2(row_max - tl.max(row_max, 0))
    partial = tl.load(
        partial_ptr + (row * num_splits + split)[:, None] * HEAD_DIM + dim[None, :],
        mask=is_split[:, None] & (dim < HEAD_DIM)[None, :],
        other=0.0,
    )
    merged = tl.sum(partial * weight[:, None], 0) / tl.sum(row_sum * weight, 0)
    out = out_ptr + token.to(tl.int64) * out_token_stride + head * out_head_stride + dim
    tl.store(out, merged.to(out_ptr.dtype.element_ty), mask=dim < HEAD_DIM)


def merge_splits(partial: Tensor, stats: Tensor, out: Tensor) -> None:
    """partial (tokens, heads, splits, head_dim) fp32, stats (tokens, heads, splits, 2) fp32 (log2 of the largest
    weight, sum of weights over it) → out (tokens, heads, head_dim).

    A split that saw no key has −inf and 0 in stats, and zeros in partial. Rows of padded tokens may hold anything.
    """
    tokens, heads, num_splits, head_dim = partial.shape
    assert partial.is_contiguous()
    assert stats.is_contiguous()
    assert partial.dtype == stats.dtype == torch.float32
    dim = triton.next_power_of_2(head_dim)
    splits = triton.next_power_of_2(num_splits)
    _merge_splits[tokens, heads](
        partial,
        stats,
        out,
        num_splits,
        out.stride(0),
        out.stride(1),
        HEAD_DIM=head_dim,
        DIM=dim,
        SPLITS=splits,
        num_warps=4 if splits * dim <= 4096 else 8,
        enable_fp_fusion=True,
    )
