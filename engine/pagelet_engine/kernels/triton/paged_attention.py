"""Attention over the paged KV cache: one kernel for any mix of prompt chunks and decodes.

For query token t of a sequence, at position p, over the positions j ≤ p (with a window: j > p - window):

    out[t] = Σ_j softmax_j(cap(scale · q[t]·k[j])) · v[j],   cap(x) = soft_cap · tanh(x / soft_cap), or x

A program owns one KV head and a tile of queries of one sequence. The heads of a group are packed into the tile's rows,
so that a key is read once for all of them. Key tiles do not depend on the page size: position j lies in block
block_table[j // block_size], in slot j % block_size. The softmax is online, in fp32 and in powers of two. Tiles that
all rows see whole run without masks.

How many programs there are is known without asking the device: a sequence of n query tokens needs at most
n // tokens_per_tile + 1 of them. A program finds its own by a binary search over cu_query_lens, or has nothing to do.
With num_splits > 1, several programs share a sequence's keys, and `merge_splits` puts together what they found.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from pagelet_engine.kernels.triton.attention_tiles import choose_tiles
from pagelet_engine.kernels.triton.merge_splits import merge_splits
from pagelet_engine.kernels.triton.target import current_target

_LOG2_E = math.log2(math.e)


@triton.jit
def _find_sequence(cu_query_lens_ptr, num_seqs, tile, TOKENS: tl.constexpr):
    """The last sequence whose tiles begin at or before `tile`; sequence i's begin at cu_query_lens[i] // TOKENS + i."""
    low = 0
    high = num_seqs
    while high - low > 1:
        middle = (low + high) // 2
        if tl.load(cu_query_lens_ptr + middle) // TOKENS + middle <= tile:
            low = middle
        else:
            high = middle
    return low


@triton.jit
def _attend(
    query,  # (ROWS, DIM)
    row_max,  # (ROWS,) fp32: the largest logit so far, in powers of two
    row_sum,  # (ROWS,) fp32: the sum of weights so far, over that largest
    acc,  # (ROWS, DIM) fp32: the weighted sum of values so far
    first_tile,
    last_tile,
    position,  # (ROWS,): of each row's token
    first_key,
    last_key,
    window,
    table_ptr,
    key_ptr,
    key_scale_ptr,
    kv_strides,  # of a block, a slot, and from a key to its value
    scale_strides,
    logit_scale,
    soft_cap,
    HEAD_DIM: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    KEYS: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    HAS_SOFT_CAP: tl.constexpr,
    HAS_SCALES: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Tiles first_tile … last_tile - 1, of keys within first_key … last_key - 1."""
    dim = tl.arange(0, DIM)
    key = first_tile * KEYS + tl.arange(0, KEYS)
    # Block ids are fetched one tile ahead: what they point at can then be fetched several tiles ahead.
    block = tl.load(table_ptr + key // BLOCK_SIZE, mask=(key >= first_key) & (key < last_key), other=0)
    for tile in range(first_tile, last_tile):
        key = tile * KEYS + tl.arange(0, KEYS)
        this_block = block.to(tl.int64)
        slot = key % BLOCK_SIZE
        block = tl.load(table_ptr + (key + KEYS) // BLOCK_SIZE, mask=key + KEYS < last_key, other=0)

        # Slots that nobody wrote may hold NaN, which no weight of 0 takes away.
        is_key = (key >= first_key) & (key < last_key)
        kv_offset = (this_block * kv_strides[0] + slot * kv_strides[1])[:, None] + dim[None, :]
        if MASKED:
            kv_mask = is_key[:, None] & (dim < HEAD_DIM)[None, :]
            keys = tl.load(key_ptr + kv_offset, mask=kv_mask, other=0.0)  # (KEYS, DIM)
            values = tl.load(key_ptr + kv_strides[2] + kv_offset, mask=kv_mask, other=0.0)
        elif HEAD_DIM < DIM:
            kv_mask = (dim < HEAD_DIM)[None, :]
            keys = tl.load(key_ptr + kv_offset, mask=kv_mask, other=0.0)
            values = tl.load(key_ptr + kv_strides[2] + kv_offset, mask=kv_mask, other=0.0)
        else:
            keys = tl.load(key_ptr + kv_offset)
            values = tl.load(key_ptr + kv_strides[2] + kv_offset)

        logits = tl.dot(query, tl.trans(keys.to(query.dtype)), input_precision="ieee")  # (ROWS, KEYS)
        if HAS_SCALES:
            scale_offset = this_block * scale_strides[0] + slot * scale_strides[1]
            logits *= tl.load(key_scale_ptr + scale_offset, mask=is_key, other=0.0)[None, :]
            value_scale = tl.load(key_scale_ptr + scale_strides[2] + scale_offset, mask=is_key, other=0.0)
        if HAS_SOFT_CAP:
            # logit_scale is scale / soft_cap · 2 · log2(e) here; tanh(x) = 1 - 2 / (e^2x + 1)
            logits = soft_cap * (1.0 - 2.0 / (tl.exp2(logits * logit_scale) + 1.0))
            unit = 1.0
        else:
            unit = logit_scale
        if MASKED:
            visible = key[None, :] <= position[:, None]
            if HAS_WINDOW:
                visible = visible & (key[None, :] > position[:, None] - window)
            logits = tl.where(visible, logits, -float("inf"))
        new_max = tl.maximum(row_max, tl.max(logits, 1) * unit)
        # A row that has seen no key yet: -inf - -inf would be NaN.
        zero = tl.where(new_max == -float("inf"), 0.0, new_max) if MASKED else new_max
        weights = tl.exp2(logits * unit - zero[:, None])
        shrink = tl.exp2(row_max - zero)
        row_sum = row_sum * shrink + tl.sum(weights, 1)
        if HAS_SCALES:
            # Weights stay near 1, in the range of fp16, whatever the scales are.
            largest = tl.maximum(tl.max(value_scale, 0), 1e-30)
            weights *= (value_scale / largest)[None, :]
            acc *= shrink[:, None]
            acc += tl.dot(weights.to(query.dtype), values.to(query.dtype)) * largest
        else:
            acc = tl.dot(weights.to(query.dtype), values, acc * shrink[:, None], input_precision="ieee")
        row_max = new_max
    return row_max, row_sum, acc


@triton.jit(
    do_not_specialize=["num_seqs", "window"],
    do_not_specialize_on_alignment=["cu_query_lens_ptr", "seq_lens_ptr", "seq_slots_ptr"],
)
def _paged_attention(
    query_ptr,
    kv_ptr,
    kv_scales_ptr,
    block_tables_ptr,
    cu_query_lens_ptr,
    seq_lens_ptr,
    seq_slots_ptr,
    out_ptr,
    stats_ptr,
    num_seqs,
    logit_scale,
    soft_cap,
    window,
    query_strides,  # of a token, a head
    table_stride,
    kv_strides,  # of a block, a slot, from a key to its value, of a head
    scale_strides,
    out_strides,  # of a token, a head
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    DECODES_ONLY: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    HAS_SOFT_CAP: tl.constexpr,
    HAS_SCALES: tl.constexpr,
    IS_SPLIT: tl.constexpr,
):
    TOKENS: tl.constexpr = ROWS // GROUP
    # KV heads side by side: their keys lie side by side in a page.
    kv_head = tl.program_id(0)
    if DECODES_ONLY:
        seq = tl.program_id(1)
        first_token = 0
    else:
        # A prompt's last tiles look at the most keys, and go first.
        tile = tl.num_programs(1) - 1 - tl.program_id(1)
        seq = _find_sequence(cu_query_lens_ptr, num_seqs, tile, TOKENS)
        first_token = (tile - tl.load(cu_query_lens_ptr + seq) // TOKENS - seq) * TOKENS
    query_start = tl.load(cu_query_lens_ptr + seq)
    query_len = tl.load(cu_query_lens_ptr + seq + 1) - query_start
    if first_token >= query_len:
        return
    seq_len = tl.load(seq_lens_ptr + seq)
    table_ptr = block_tables_ptr + tl.load(seq_slots_ptr + seq).to(tl.int64) * table_stride

    row = tl.arange(0, ROWS)
    dim = tl.arange(0, DIM)
    token = first_token + row // GROUP
    head = kv_head * GROUP + row % GROUP
    is_row = (row < TOKENS * GROUP) & (token < query_len)
    is_number = is_row[:, None] & (dim < HEAD_DIM)[None, :]
    token_row = (query_start + token).to(tl.int64)
    query = tl.load(
        query_ptr + (token_row * query_strides[0] + head * query_strides[1])[:, None] + dim[None, :],
        mask=is_number,
        other=0.0,
    )

    if HAS_SCALES:
        # Numbers of the fp8 cache turn into fp16 exactly, two at a time; into bf16 by a detour.
        query = query.to(tl.float16)

    # Positions of the tile's first and last token; the keys that any row looks at, and the tiles of them that are mine.
    first_position = seq_len - query_len + first_token
    last_position = tl.minimum(first_position + TOKENS, seq_len) - 1
    position = seq_len - query_len + token
    first_key = 0
    if HAS_WINDOW:
        first_key = tl.maximum(0, first_position - window + 1)
    last_key = last_position + 1
    first_tile = first_key // KEYS
    last_tile = (last_key + KEYS - 1) // KEYS
    if IS_SPLIT:
        tiles = (last_tile - first_tile + tl.num_programs(2) - 1) // tl.num_programs(2)
        first_tile += tl.program_id(2) * tiles
        last_tile = tl.minimum(first_tile + tiles, last_tile)

    row_max = tl.full((ROWS,), -float("inf"), tl.float32)
    row_sum = tl.zeros((ROWS,), tl.float32)
    acc = tl.zeros((ROWS, DIM), tl.float32)
    # In three phases: tiles that cross the window's edge (masked), tiles that every row sees whole, and tiles with keys
    # past some row's position (masked). Decodes run the third alone: masks cost nothing beside the cache's bytes, and
    # each phase begins with an empty pipeline.
    first_whole = first_tile
    if HAS_WINDOW:
        first_whole = (tl.maximum(0, last_position - window + 1) + KEYS - 1) // KEYS
        first_whole = tl.minimum(tl.maximum(first_whole, first_tile), last_tile)
    last_whole = tl.maximum(tl.minimum((first_position + 1) // KEYS, last_tile), first_whole)
    begin = first_tile
    for phase in tl.static_range(2 if DECODES_ONLY else 0 if HAS_WINDOW else 1, 3):
        if phase == 0:
            end = first_whole
        elif phase == 1:
            end = last_whole
        else:
            end = last_tile
        row_max, row_sum, acc = _attend(
            query,
            row_max,
            row_sum,
            acc,
            begin,
            end,
            position,
            first_key,
            last_key,
            window,
            table_ptr,
            kv_ptr + kv_head * kv_strides[3],
            kv_scales_ptr + kv_head * scale_strides[3],
            kv_strides,
            scale_strides,
            logit_scale,
            soft_cap,
            HEAD_DIM,
            DIM,
            BLOCK_SIZE,
            KEYS,
            HAS_WINDOW,
            HAS_SOFT_CAP,
            HAS_SCALES,
            phase != 1,
        )
        begin = end

    out_offset = token_row * out_strides[0] + head * out_strides[1]
    if IS_SPLIT:
        split = tl.program_id(2)
        stats = stats_ptr + (out_offset // HEAD_DIM + split) * 2
        tl.store(stats, row_max, mask=is_row)
        tl.store(stats + 1, row_sum, mask=is_row)
        out_offset += split * HEAD_DIM
    else:
        acc = acc / row_sum[:, None]
    out = out_ptr + out_offset[:, None] + dim[None, :]
    tl.store(out, acc.to(out_ptr.dtype.element_ty), mask=is_number)


def paged_attention(
    query: Tensor,
    kv: Tensor,
    block_tables: Tensor,
    cu_query_lens: Tensor,
    seq_lens: Tensor,
    seq_slots: Tensor,
    *,
    scale: float,
    max_query_len: int,
    window: int | None = None,
    soft_cap: float = 0.0,
    kv_scales: Tensor | None = None,
    num_splits: int = 1,
    out: Tensor | None = None,
) -> Tensor:
    """query (tokens, heads, head_dim), kv (blocks, block_size, 2, kv_heads, head_dim) → (tokens, heads, head_dim).

    query         may be a view of the fused projection; numbers of a head adjacent. heads is a multiple of kv_heads;
                  head h reads KV head h // (heads // kv_heads)
    kv            one layer's cache, keys at 0 and values at 1 of its third dimension; any strides but the last
    block_tables  (slots, max_blocks) int32: entries behind a window or past a sequence's end are never followed
    cu_query_lens (seqs + 1,) int32: sequence i computes tokens from cu_query_lens[i] up to cu_query_lens[i + 1];
                  padded ones none
    seq_lens      (seqs,) int32: its tokens in the cache after this step; the queries are its last ones
    seq_slots     (seqs,) int32: its row of the block tables
    max_query_len at least the longest query of the step; 1: decodes only
    window        positions that a token looks at, itself included; None: all up to its own
    soft_cap      0: none
    kv_scales     (blocks, block_size, 2, kv_heads) fp32: kv holds float8_e4m3fn, and a number is kv × scale
    num_splits    programs that share each sequence's keys, see `attention_tiles.choose_splits`
    out           the result's place, numbers of a head adjacent; None: a new tensor

    Rows of padded tokens may hold anything.
    """
    tokens, heads, head_dim = query.shape
    block_size, kv_heads = kv.shape[1], kv.shape[3]
    num_seqs = len(seq_lens)
    assert heads % kv_heads == 0
    assert query.stride(2) == kv.stride(4) == block_tables.stride(1) == 1
    assert window is None or window > 0
    assert (kv_scales is not None) == (kv.dtype == torch.float8_e4m3fn)
    group = heads // kv_heads
    tiles = choose_tiles(head_dim, group, query.itemsize, kv.itemsize, max_query_len, current_target())
    if out is None:
        out = torch.empty_like(query, memory_format=torch.contiguous_format)
    assert out.stride(2) == 1
    target, stats = out, out
    if num_splits > 1:
        target = torch.empty(tokens, heads, num_splits, head_dim, dtype=torch.float32, device=query.device)
        stats = torch.empty(tokens, heads, num_splits, 2, dtype=torch.float32, device=query.device)
    decodes_only = max_query_len == 1
    programs = num_seqs if decodes_only else tokens // (tiles.rows // group) + num_seqs
    _paged_attention[kv_heads, programs, num_splits](
        query,
        kv,
        kv if kv_scales is None else kv_scales,
        block_tables,
        cu_query_lens,
        seq_lens,
        seq_slots,
        target,
        stats,
        num_seqs,
        scale * _LOG2_E if not soft_cap else scale * _LOG2_E * 2 / soft_cap,
        soft_cap * _LOG2_E,
        window or 0,
        query.stride()[:2],
        block_tables.stride(0),
        kv.stride()[:4],
        (0, 0, 0, 0) if kv_scales is None else kv_scales.stride(),
        target.stride()[:2],
        GROUP=group,
        HEAD_DIM=head_dim,
        DIM=triton.next_power_of_2(head_dim),
        BLOCK_SIZE=block_size,
        ROWS=tiles.rows,
        KEYS=tiles.keys,
        DECODES_ONLY=decodes_only,
        HAS_WINDOW=window is not None,
        HAS_SOFT_CAP=soft_cap > 0,
        HAS_SCALES=kv_scales is not None,
        IS_SPLIT=num_splits > 1,
        num_warps=tiles.num_warps,
        num_stages=tiles.num_stages,
        enable_fp_fusion=True,
    )
    if num_splits > 1:
        merge_splits(target, stats, out)
    return out
