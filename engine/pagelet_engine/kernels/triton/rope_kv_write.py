"""Queries and keys normed and rotated, keys and values written into the paged cache: one launch for all of it."""

import triton
import triton.language as tl
from torch import Tensor

_LANES = 1024  # pairs of numbers a program rotates: 8 a thread, so that each load and store is 16 bytes wide
_NO_SPECIALIZING = ["positions", "token_slots"]  # slices of a packed buffer: their alignment varies from step to step


def rope_kv_write(
    qkv: Tensor,
    rotary: Tensor,
    positions: Tensor,
    token_slots: Tensor,
    block_tables: Tensor,
    kv: Tensor,
    kv_scales: Tensor | None = None,
    q_norm: Tensor | None = None,
    k_norm: Tensor | None = None,
    eps: float = 0.0,
) -> None:
    """Rotate queries in place; write rotated keys, and values, where their sequences' block tables say.

    With x = (a, b) in halves, a query or a key becomes (a·cos - b·sin, b·cos + a·sin). With q_norm and k_norm, x is
    first x / sqrt(mean(x²) + eps) · weight over each head. All in fp32, rounded once, at the end. The keys and values
    in qkv stay as they were.

    qkv          (tokens, heads + 2 × kv_heads, head_dim): queries, keys, values
    rotary       (tokens, 2, head_dim / 2) fp32: cosines, then sines, of each token's position
    positions    (tokens,) int32
    token_slots  (tokens,) int32: the row of block_tables; -1: a padded token, of which nothing is written
    block_tables (slots, max_blocks) int32
    kv           (blocks, block_size, 2, kv_heads, head_dim), strided: one layer of the pool, keys and values at 0 and 1
    kv_scales    (blocks, block_size, 2, kv_heads) fp32, strided: then kv is float8_e4m3fn, and what is written is
                 x / scale with scale = max|x| / 448 of a token's head
    q_norm, k_norm (head_dim,) fp32
    """
    tokens, all_heads, head_dim = qkv.shape
    block_size, kv_heads = kv.shape[1], kv.shape[3]
    assert head_dim % 2 == 0
    assert qkv.stride()[1:] == (head_dim, 1)
    assert kv.stride(4) == 1
    assert rotary.is_contiguous()
    assert (q_norm is None) == (k_norm is None)
    block_half = triton.next_power_of_2(head_dim // 2)
    block_heads = min(triton.next_power_of_2(all_heads), max(1, _LANES // block_half))
    _rope_kv_write[(tokens, triton.cdiv(all_heads, block_heads))](
        qkv,
        rotary,
        positions,
        token_slots,
        block_tables,
        kv,
        kv_scales,
        q_norm,
        k_norm,
        eps,
        qkv.stride(0),
        block_tables.stride(0),
        *kv.stride()[:4],
        *(kv_scales.stride() if kv_scales is not None else (0, 0, 0, 0)),
        HEADS=all_heads - 2 * kv_heads,
        KV_HEADS=kv_heads,
        HEAD_DIM=head_dim,
        BLOCK_SIZE=block_size,
        BLOCK_HEADS=block_heads,
        BLOCK_HALF=block_half,
        num_warps=max(1, min(4, block_heads * block_half // 256)),
        enable_fp_fusion=True,
    )


@triton.jit(do_not_specialize=_NO_SPECIALIZING)
def _rope_kv_write(
    qkv,
    rotary,
    positions,
    token_slots,
    block_tables,
    kv,
    kv_scales,
    q_norm,
    k_norm,
    eps,
    qkv_stride,
    table_stride,
    kv_block_stride,
    kv_token_stride,
    kv_part_stride,
    kv_head_stride,
    scale_block_stride,
    scale_token_stride,
    scale_part_stride,
    scale_head_stride,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
):
    """One token, BLOCK_HEADS of its heads: queries, keys and values alike, told apart when they are stored."""
    HALF: tl.constexpr = HEAD_DIM // 2
    token = tl.program_id(0).to(tl.int64)
    slot = tl.load(token_slots + token).to(tl.int64)
    position = tl.load(positions + token)
    head = tl.program_id(1) * BLOCK_HEADS + tl.arange(0, BLOCK_HEADS)  # (BLOCK_HEADS,)
    # Of the tile's whole shape, though rows repeat: what these load then lies as the tile does, in 16-byte pieces.
    dim = tl.broadcast_to(tl.arange(0, BLOCK_HALF)[None, :], (BLOCK_HEADS, BLOCK_HALF))
    exists = (head < HEADS + 2 * KV_HEADS)[:, None] & (dim < HALF)  # (BLOCK_HEADS, BLOCK_HALF)
    row = qkv + token * qkv_stride + head[:, None] * HEAD_DIM + dim
    first = tl.load(row, exists, other=0.0).to(tl.float32)
    second = tl.load(row + HALF, exists, other=0.0).to(tl.float32)
    angle = rotary + token * HEAD_DIM + dim
    cos = tl.load(angle, dim < HALF, other=0.0)
    sin = tl.load(angle + HALF, dim < HALF, other=0.0)
    # A padded token has no block: its stores are masked, and so is the look-up.
    entry = block_tables + slot * table_stride + position // BLOCK_SIZE
    block = tl.load(entry, slot >= 0, other=0).to(tl.int64)

    a, b = first, second
    if q_norm is not None:
        is_query = (head < HEADS)[:, None]
        mean_square = (tl.sum(a * a, 1) + tl.sum(b * b, 1)) / HEAD_DIM
        over_root = tl.rsqrt(mean_square + eps)[:, None]
        query_a, query_b = tl.load(q_norm + dim, dim < HALF), tl.load(q_norm + HALF + dim, dim < HALF)
        key_a, key_b = tl.load(k_norm + dim, dim < HALF), tl.load(k_norm + HALF + dim, dim < HALF)
        a = a * over_root * tl.where(is_query, query_a, key_a)
        b = b * over_root * tl.where(is_query, query_b, key_b)
    is_value = (head >= HEADS + KV_HEADS)[:, None]
    first = tl.where(is_value, first, a * cos - b * sin)
    second = tl.where(is_value, second, b * cos + a * sin)

    is_query = exists & (head < HEADS)[:, None]
    tl.store(row, first.to(qkv.dtype.element_ty), is_query)
    tl.store(row + HALF, second.to(qkv.dtype.element_ty), is_query)

    # What is neither a query nor of a padded token goes into the cache: part 0 is the keys', 1 the values'.
    is_cached = tl.where(head >= HEADS, slot, -1) >= 0  # no & of blocks with a scalar: the interpreter has none
    is_cached &= head < HEADS + 2 * KV_HEADS
    kv_head = tl.where(head >= HEADS, head - HEADS, 0)
    part, kv_head = kv_head // KV_HEADS, kv_head % KV_HEADS
    offset = position % BLOCK_SIZE
    if kv_scales is not None:
        largest = tl.max(tl.maximum(tl.abs(first), tl.abs(second)), 1)  # (BLOCK_HEADS,)
        to_scales = kv_scales + block * scale_block_stride + offset * scale_token_stride
        to_scales += part * scale_part_stride + kv_head * scale_head_stride
        tl.store(to_scales, tl.div_rn(largest, 448.0), is_cached)  # a plain division is approximate on a GPU
        inverse = (448.0 / tl.maximum(largest, 1e-30))[:, None]  # of smaller ones it would overflow
        first, second = first * inverse, second * inverse
    to = kv + block * kv_block_stride + offset * kv_token_stride + dim
    to += (part * kv_part_stride + kv_head * kv_head_stride)[:, None]
    is_cached = is_cached[:, None] & (dim < HALF)
    tl.store(to, first.to(kv.dtype.element_ty), is_cached)
    tl.store(to + HALF, second.to(kv.dtype.element_ty), is_cached)
