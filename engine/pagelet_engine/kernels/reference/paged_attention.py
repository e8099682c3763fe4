"""Attention over the paged KV cache: any mix of prompt chunks and decodes, grouped heads, optional window.

A step's lengths and block tables are the same for all layers, so they are turned into gather indices once
(`plan_attention`, on the host), and each layer then gathers and attends (`paged_attention`).

The cache of one layer is `kv_rows (rows, 2, kv_heads, head_dim)`, one row a token slot, K then V. A block is a page of
`page_rows` rows that holds other layers too: slot o of block b is row b × page_rows + o, counted from this layer's
first row.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

IntArray = npt.NDArray[np.int64]

# Gathered tokens of one group of decodes: what they gather should still be in the cache when they attend.
_GROUP_TOKENS = 8192
# A decode joins a group if it is at least this share of the group's longest: padding is attended too.
_GROUP_SHARE = 0.8
# Entries of one mask, which bounds the memory of a chunk behind a long prefix.
_MASK_ENTRIES = 1 << 22


@dataclass(frozen=True, slots=True)
class Piece:
    """Queries of equally many tokens each, which attend to keys gathered together."""

    queries: Tensor | slice
    """Their rows in the step: (seqs,) when each sequence has one, a slice of one sequence otherwise."""
    context: int
    """Leading gathered keys that they may look at."""
    mask: Tensor | None
    """(seqs, 1, queries, context) bool, True: may look; None: at all of them."""
    causal: bool = False
    """No prefix: query i looks at keys 0 … i."""


@dataclass(frozen=True, slots=True)
class Gather:
    """Sequences whose keys and values are fetched together, padded to one length."""

    rows: Tensor
    """(seqs × context,) int64: rows of kv_rows. Padding repeats the sequence's last token: it is masked, and never a
    slot that nobody wrote, so what such slots hold (NaN, in the tests) cannot matter."""
    num_seqs: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class AttentionPlan:
    gathers: tuple[Gather, ...]


def plan_attention(
    cu_query_lens: IntArray,
    seq_lens: IntArray,
    block_table: IntArray,
    *,
    block_size: int,
    page_rows: int,
    window: int | None = None,
    device: torch.device | str = "cpu",
) -> AttentionPlan:
    """Plan one step of one KV group.

    cu_query_lens (seqs + 1,): sequence i computes the step's tokens from cu_query_lens[i] up to cu_query_lens[i + 1],
                  at least one
    seq_lens      (seqs,): its tokens in the cache after this step: the query tokens are its last ones
    block_table   (seqs, ≥ blocks): its blocks in order; entries behind a window or past its end are never followed
    window        tokens a query looks at, itself included; None: all before it
    """
    query_lens = np.diff(cu_query_lens)
    # The first position that any query of the sequence looks at.
    first = np.zeros_like(seq_lens) if window is None else np.maximum(0, seq_lens - query_lens - window + 1)

    def rows(seqs: IntArray, context: int) -> Tensor:
        """Rows of `context` positions of each sequence, from its first one on, its last one repeated."""
        positions = np.minimum(first[seqs, None] + np.arange(context), seq_lens[seqs, None] - 1)
        blocks = block_table[seqs[:, None], positions // block_size].astype(np.int64)
        return _to(blocks * page_rows + positions % block_size, device).view(-1)

    contexts = seq_lens - first
    gathers = []
    for seqs in _decode_groups(np.flatnonzero(query_lens == 1), contexts):
        context = int(contexts[seqs[0]])
        mask = None
        if contexts[seqs[-1]] != context:
            mask = _to(np.arange(context) < contexts[seqs, None], device)[:, None, None]
        piece = Piece(_to(cu_query_lens[seqs], device), context, mask)
        gathers.append(Gather(rows(seqs, context), len(seqs), (piece,)))
    for seq in np.flatnonzero(query_lens > 1):
        context, queries = int(contexts[seq]), int(query_lens[seq])
        pieces = tuple(_chunk_pieces(int(cu_query_lens[seq]), queries, context, window, device))
        gathers.append(Gather(rows(np.array([seq]), context), 1, pieces))
    return AttentionPlan(tuple(gathers))


def paged_attention(query: Tensor, kv_rows: Tensor, plan: AttentionPlan, scale: float, soft_cap: float = 0.0) -> Tensor:
    """softmax(scale · q·Kᵀ) · V for every query token over its own sequence; with a soft cap, softmax(cap · tanh(scale
    · q·Kᵀ / cap)) · V.

    query (tokens, heads, head_dim), kv_rows (rows, 2, kv_heads, head_dim) → (tokens, heads, head_dim). heads is a
    multiple of kv_heads; head h reads KV head h // (heads // kv_heads). Scores and softmax are fp32.
    """
    tokens, heads, head_dim = query.shape
    kv_heads = kv_rows.shape[2]
    flat = kv_rows.view(len(kv_rows), -1)
    output = torch.empty(tokens, heads, head_dim, dtype=query.dtype, device=query.device)
    for gather in plan.gathers:
        kv = flat.index_select(0, gather.rows).view(gather.num_seqs, -1, 2, kv_heads, head_dim)
        for piece in gather.pieces:
            key, value = kv[:, : piece.context].permute(2, 0, 3, 1, 4)  # (seqs, kv_heads, context, head_dim) each
            q = query[piece.queries]
            if isinstance(piece.queries, slice):
                q = q.transpose(0, 1)[None]  # (1, heads, queries, head_dim)
            else:
                q = q.view(
                    -1, kv_heads, heads // kv_heads, head_dim
                )  # a head's group is read in one go, as its queries
            attended = (
                _capped(q, key, value, piece, scale, soft_cap) if soft_cap else _attend(q, key, value, piece, scale)
            )
            if isinstance(piece.queries, slice):
                output[piece.queries] = attended[0].transpose(0, 1)
            else:
                output[piece.queries] = attended.reshape(-1, heads, head_dim)
    return output


def _attend(query: Tensor, key: Tensor, value: Tensor, piece: Piece, scale: float) -> Tensor:
    """query (seqs, heads, queries, head_dim), key and value (seqs, kv_heads, context, head_dim) → query's shape."""
    return F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=piece.mask,
        is_causal=piece.causal,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _capped(query: Tensor, key: Tensor, value: Tensor, piece: Piece, scale: float, soft_cap: float) -> Tensor:
    """As `_attend`, with capped scores."""
    seqs, heads, queries, _ = query.shape
    kv_heads, context = key.shape[1:3]
    groups = query.float().reshape(seqs, kv_heads, -1, query.shape[3])
    scores = (groups @ key.float().transpose(2, 3)).mul_(scale / soft_cap).tanh_().mul_(soft_cap)
    scores = scores.view(seqs, heads, queries, context)
    mask = piece.mask
    if piece.causal:
        mask = torch.ones(queries, context, dtype=torch.bool, device=query.device).tril_()
    if mask is not None:
        scores = scores.masked_fill_(~mask, -torch.inf)
    weights = scores.softmax(-1).view(seqs, kv_heads, -1, context)
    return (weights @ value.float()).view(query.shape).to(query.dtype)


def _decode_groups(seqs: IntArray, contexts: IntArray) -> Iterator[IntArray]:
    """Split sequences into groups of similar context, the longest first in each."""
    seqs = seqs[np.argsort(-contexts[seqs], kind="stable")]
    while len(seqs):
        longest = int(contexts[seqs[0]])
        similar = int(np.count_nonzero(contexts[seqs] >= _GROUP_SHARE * longest))
        count = min(similar, max(1, _GROUP_TOKENS // longest))
        yield seqs[:count]
        seqs = seqs[count:]


def _chunk_pieces(
    start: int, queries: int, context: int, window: int | None, device: torch.device | str
) -> Iterator[Piece]:
    """Cut one sequence's queries so that no mask grows beyond bounds; the queries are the last of `context` keys."""
    prefix = context - queries
    if prefix == 0 and window is None:
        yield Piece(slice(start, start + queries), context, None, causal=True)
        return
    length = max(1, _MASK_ENTRIES // context)
    for first in range(0, queries, length):
        last = min(first + length, queries)
        position = np.arange(prefix + first, prefix + last)[:, None]  # of each query among the keys
        key = np.arange(prefix + last)
        mask = key <= position
        if window is not None:
            mask &= key > position - window
        yield Piece(slice(start + first, start + last), prefix + last, _to(mask, device)[None, None])


def _to(array: npt.NDArray[np.int64] | npt.NDArray[np.bool_], device: torch.device | str) -> Tensor:
    return torch.from_numpy(array).to(device, non_blocking=True)
