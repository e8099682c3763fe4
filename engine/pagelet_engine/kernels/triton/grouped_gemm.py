"""Matrix products in which each token's row meets the matrix of an expert of its own.

A *pair* is one token and one of its experts: pair p is choice p % top_k of token p // top_k. Pairs are sorted by expert
and cut into tiles of `block_m` rows, none of which crosses an expert; a program computes one tile against `block_n` of
its expert's outputs. How many tiles there are only the device knows: the grid is a bound from the shapes, and what is
left over ends at once. Tiles of one expert run side by side, so its weights are fetched from memory once.

A row of a product depends on no other row: not on the tile it lies in, nor on NaN beside it.
"""

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from pagelet_engine.kernels.activation import Activation


@dataclass(frozen=True, slots=True)
class Tiling:
    """Sizes of one program's tile, and how its loads overlap its products."""

    block_m: int
    block_n: int
    block_k: int
    num_warps: int
    num_stages: int

    def options(self, in_features: int) -> dict[str, Any]:
        """The kernels' compile-time arguments."""
        return {
            "BLOCK_M": self.block_m,
            "BLOCK_N": self.block_n,
            "BLOCK_K": self.block_k,
            "IS_EVEN_K": in_features % self.block_k == 0,
            "num_warps": self.num_warps,
            "num_stages": self.num_stages,
        }


@dataclass(frozen=True, slots=True)
class ExpertOrder:
    pairs: Tensor
    """(pairs,) int32: the pairs, sorted by expert; among one expert's in their own order."""
    tiles: Tensor
    """(tiles, 3) int32: expert, first row, end of the expert's rows; expert −1: there is no such tile."""
    block_m: int
    """Rows of a tile."""


def sort_by_expert(expert_ids: Tensor, num_experts: int, block_m: int) -> ExpertOrder:
    """expert_ids (tokens, top_k) int32, contiguous → the order in which experts take their rows.

    One launch, one program an expert: each counts all experts' pairs to learn where its own go, then puts them there.
    """
    num_pairs = expert_ids.numel()
    # A tile has at least one pair; and an expert wastes less than one tile.
    num_tiles = min(num_pairs, num_pairs // block_m + num_experts)
    pairs = torch.empty(num_pairs, dtype=torch.int32, device=expert_ids.device)
    tiles = torch.empty(num_tiles, 3, dtype=torch.int32, device=expert_ids.device)
    _sort_by_expert[(num_experts,)](
        expert_ids,
        pairs,
        tiles,
        num_pairs,
        num_tiles,
        NUM_EXPERTS=num_experts,
        EXPERTS=triton.next_power_of_2(num_experts),
        BLOCK_M=block_m,
        CHUNK=1024 if num_pairs <= 1024 else 4096,
        num_warps=8,
        enable_fp_fusion=True,
    )
    return ExpertOrder(pairs, tiles, block_m)


def gated(x: Tensor, gate_up: Tensor, order: ExpertOrder, top_k: int, activation: Activation, tiling: Tiling) -> Tensor:
    """activation(gate·x) · up·x, with rows as sorted: x (tokens, hidden), gate_up (experts, 2 × inner, hidden): gate,
    then up → (pairs, inner) in x's dtype."""
    hidden, inner = gate_up.shape[2], gate_up.shape[1] // 2
    assert x.stride(1) == 1, "the rows of x are contiguous"
    assert gate_up.is_contiguous()
    assert tiling.block_m == order.block_m
    product = torch.empty(len(order.pairs), inner, dtype=x.dtype, device=x.device)
    _gated[(len(order.tiles), triton.cdiv(inner, tiling.block_n))](
        x,
        gate_up,
        product,
        order.pairs,
        order.tiles,
        x.stride(0),
        IS_SILU=activation is Activation.SILU,
        TOP_K=top_k,
        INNER=inner,
        HIDDEN=hidden,
        **tiling.options(hidden),
        enable_fp_fusion=True,
    )
    return product


def weighted(x: Tensor, down: Tensor, order: ExpertOrder, weights: Tensor, tiling: Tiling) -> Tensor:
    """weight · down·x, each back in its pair's place: x (pairs, inner) sorted, down (experts, hidden, inner),
    weights (tokens, top_k) fp32 → (tokens, top_k, hidden) in x's dtype."""
    hidden, inner = down.shape[1:]
    assert x.is_contiguous()
    assert down.is_contiguous()
    assert weights.is_contiguous()
    assert tiling.block_m == order.block_m
    parts = torch.empty(*weights.shape, hidden, dtype=x.dtype, device=x.device)
    _weighted[(len(order.tiles), triton.cdiv(hidden, tiling.block_n))](
        x,
        down,
        parts,
        order.pairs,
        order.tiles,
        weights,
        HIDDEN=hidden,
        INNER=inner,
        **tiling.options(inner),
        enable_fp_fusion=True,
    )
    return parts


@triton.jit(do_not_specialize=["num_pairs", "num_tiles"])
def _sort_by_expert(
    expert_ids,  # (pairs,)
    pairs,  # (pairs,)
    tiles,  # (tiles, 3)
    num_pairs,
    num_tiles,
    NUM_EXPERTS: tl.constexpr,
    EXPERTS: tl.constexpr,  # the next power of two
    BLOCK_M: tl.constexpr,
    CHUNK: tl.constexpr,
):
    own = tl.program_id(0)
    lane = tl.arange(0, CHUNK)
    expert = tl.arange(0, EXPERTS)
    counts = tl.zeros((EXPERTS,), dtype=tl.int32)
    for first in range(0, num_pairs, CHUNK):
        inside = first + lane < num_pairs
        ids = tl.load(expert_ids + first + lane, mask=inside, other=0)
        counts += tl.histogram(ids, EXPERTS, mask=inside)
    before = expert < own
    start = tl.sum(tl.where(before, counts, 0))
    count = tl.sum(tl.where(expert == own, counts, 0))

    tiles_of = (counts + (BLOCK_M - 1)) // BLOCK_M
    first_tile = tl.sum(tl.where(before, tiles_of, 0))
    # The last expert's program also marks what is left of the bound.
    end_tile = first_tile + (count + (BLOCK_M - 1)) // BLOCK_M
    end_tile = tl.where(own == NUM_EXPERTS - 1, num_tiles, end_tile)
    for first in range(first_tile, end_tile, EXPERTS):
        tile = first + expert
        row = start + (tile - first_tile) * BLOCK_M
        inside = tile < end_tile
        tl.store(tiles + 3 * tile, tl.where(row < start + count, own, -1), mask=inside)
        tl.store(tiles + 3 * tile + 1, row, mask=inside)
        tl.store(tiles + 3 * tile + 2, start + count, mask=inside)

    if count > 0:
        place = start
        for first in range(0, num_pairs, CHUNK):
            inside = first + lane < num_pairs
            is_own = (tl.load(expert_ids + first + lane, mask=inside, other=-1) == own).to(tl.int32)
            tl.store(pairs + place + tl.cumsum(is_own, 0) - 1, first + lane, mask=is_own > 0)
            place += tl.sum(is_own)


@triton.jit
def _activated(gate, IS_SILU: tl.constexpr):
    if IS_SILU:
        return gate * tl.sigmoid(gate)
    # x / 2 · (1 + tanh(z)) = x · sigmoid(2z)
    return gate * tl.sigmoid(1.5957691216057308 * (gate + 0.044715 * gate * gate * gate))  # 2 · sqrt(2/π)


@triton.jit
def _gated(
    x,  # (tokens, HIDDEN)
    gate_up,  # (experts, 2 * INNER, HIDDEN)
    product,  # (pairs, INNER)
    pairs,
    tiles,
    x_stride,
    IS_SILU: tl.constexpr,
    TOP_K: tl.constexpr,
    INNER: tl.constexpr,
    HIDDEN: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    IS_EVEN_K: tl.constexpr,
):
    tile = tiles + 3 * tl.program_id(0)
    expert = tl.load(tile).to(tl.int64)
    if expert < 0:
        return
    row = tl.load(tile + 1) + tl.arange(0, BLOCK_M)
    has_row = row < tl.load(tile + 2)
    token = tl.load(pairs + row, mask=has_row, other=0) // TOP_K
    column = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    has_column = column < INNER
    k = tl.arange(0, BLOCK_K)
    x_at = x + token.to(tl.int64)[:, None] * x_stride + k  # (BLOCK_M, BLOCK_K)
    # Columns beyond the last read the last one, and are not stored.
    gate_row = expert * (2 * INNER) + tl.where(has_column, column, INNER - 1)
    gate_at = gate_up + gate_row[:, None] * HIDDEN + k  # (BLOCK_N, BLOCK_K)

    gate = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    up = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for first in range(0, HIDDEN, BLOCK_K):
        if IS_EVEN_K:
            a = tl.load(x_at, mask=has_row[:, None], other=0)
            b = tl.load(gate_at)
            c = tl.load(gate_at + INNER * HIDDEN)
        else:
            has_k = first + k < HIDDEN
            a = tl.load(x_at, mask=has_row[:, None] & has_k, other=0)
            b = tl.load(gate_at, mask=has_k[None], other=0)
            c = tl.load(gate_at + INNER * HIDDEN, mask=has_k[None], other=0)
        gate = tl.dot(a, b.T, gate, input_precision="ieee")
        up = tl.dot(a, c.T, up, input_precision="ieee")
        x_at += BLOCK_K
        gate_at += BLOCK_K

    at = product + row.to(tl.int64)[:, None] * INNER + column
    tl.store(at, (_activated(gate, IS_SILU) * up).to(product.dtype.element_ty), mask=has_row[:, None] & has_column)


@triton.jit
def _weighted(
    x,  # (pairs, INNER)
    down,  # (experts, HIDDEN, INNER)
    parts,  # (pairs, HIDDEN)
    pairs,
    tiles,
    weights,  # (pairs,)
    HIDDEN: tl.constexpr,
    INNER: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    IS_EVEN_K: tl.constexpr,
):
    tile = tiles + 3 * tl.program_id(0)
    expert = tl.load(tile).to(tl.int64)
    if expert < 0:
        return
    row = tl.load(tile + 1) + tl.arange(0, BLOCK_M)
    has_row = row < tl.load(tile + 2)
    column = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    has_column = column < HIDDEN
    k = tl.arange(0, BLOCK_K)
    x_at = x + row.to(tl.int64)[:, None] * INNER + k  # (BLOCK_M, BLOCK_K)
    down_row = expert * HIDDEN + tl.where(has_column, column, HIDDEN - 1)
    down_at = down + down_row[:, None] * INNER + k  # (BLOCK_N, BLOCK_K)

    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for first in range(0, INNER, BLOCK_K):
        if IS_EVEN_K:
            a = tl.load(x_at, mask=has_row[:, None], other=0)
            b = tl.load(down_at)
        else:
            has_k = first + k < INNER
            a = tl.load(x_at, mask=has_row[:, None] & has_k, other=0)
            b = tl.load(down_at, mask=has_k[None], other=0)
        total = tl.dot(a, b.T, total, input_precision="ieee")
        x_at += BLOCK_K
        down_at += BLOCK_K

    pair = tl.load(pairs + row, mask=has_row, other=0)
    total *= tl.load(weights + pair, mask=has_row, other=0)[:, None]
    at = parts + pair.to(tl.int64)[:, None] * HIDDEN + column
    tl.store(at, total.to(parts.dtype.element_ty), mask=has_row[:, None] & has_column)
