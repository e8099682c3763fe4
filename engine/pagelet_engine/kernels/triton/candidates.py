"""The weights of a row among which the thresholds of top-k, top-p and min-p are searched: few, as a rule.

What is known of the rungs (vocabulary_tiles.py) gives the highest one that surely holds all that the filters keep.
The weights on it are written one behind the other, in the vocabulary's order, into a list: some hundreds of a hundred
thousand for usual settings; all, if need be. Where each tile's begin is known from the rungs' counts, so tiles write at
once and wait for nobody.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from pagelet_engine.kernels import sampling_table
from pagelet_engine.kernels.sampling_table import SamplingTable
from pagelet_engine.kernels.triton.vocabulary_tiles import (
    RUNGS,
    TILE,
    Masses,
    Maxima,
    is_finite,
    keys_of,
    rung_key,
    tiles_of_row,
    weights_of,
)

_NUM_PARAMS = tl.constexpr(sampling_table.NUM_PARAMS)
_TEMPERATURE = tl.constexpr(sampling_table.TEMPERATURE)
_TOP_K = tl.constexpr(sampling_table.TOP_K)
_TOP_P = tl.constexpr(sampling_table.TOP_P)
_MIN_P = tl.constexpr(sampling_table.MIN_P)


def list_candidates(logits: Tensor, draw_slots: Tensor, table: SamplingTable, maxima: Maxima, masses: Masses) -> Tensor:
    """→ (rows, vocab) fp32: at the beginning of each row with a filter, its candidates' weights."""
    rows, vocab = logits.shape
    tiles = maxima.largest.shape[1]
    candidates = torch.empty(rows, vocab, dtype=torch.float32, device=logits.device)
    _list_candidates[(rows, tiles)](
        logits,
        logits.stride(0),
        draw_slots,
        table.params,
        maxima.largest,
        masses.all,
        masses.rung_counts,
        masses.rungs,
        candidates,
        vocab,
        tiles,
        TILES=triton.next_power_of_2(tiles),
        num_warps=8,
        enable_fp_fusion=False,
    )
    return candidates


@triton.jit
def is_filtered(own, vocab):
    """own: the sample's parameters."""
    top_p = tl.load(own + _TOP_P).to(tl.float32, bitcast=True)
    min_p = tl.load(own + _MIN_P).to(tl.float32, bitcast=True)
    return (tl.load(own + _TOP_K) < vocab) | (top_p < 1) | (min_p > 0)


@triton.jit
def rung_counts_of(rung_counts, row, num_tiles, TILES: tl.constexpr):
    """(TILES, RUNGS) how many of each tile's weights are on each rung."""
    tile, rung = tl.arange(0, TILES)[:, None], tl.arange(0, RUNGS)[None, :]
    return tl.load(rung_counts + (row * num_tiles + tile) * RUNGS + rung, mask=tile < num_tiles, other=0)


@triton.jit
def candidates_rung(own, counts, masses, rung_masses, row, vocab, num_tiles, TILES: tl.constexpr):
    """The rung of a row's candidates: with top-k, the highest that holds k, which holds all that top-p needs to know;
    else the highest that reaches top-p's share or lies below min_p. counts: the row's, as above."""
    top_k = tl.load(own + _TOP_K)
    top_p = tl.load(own + _TOP_P).to(tl.float32, bitcast=True)
    min_p = tl.load(own + _MIN_P).to(tl.float32, bitcast=True)
    rung = tl.arange(0, RUNGS)
    is_low_enough = tl.sum(counts, 0) >= top_k
    if top_k >= vocab:
        tile = tl.arange(0, TILES)[:, None]
        place = (row * num_tiles + tile) * RUNGS + rung[None, :]
        reached = tl.sum(tl.load(rung_masses + place, mask=tile < num_tiles, other=0.0), 0)
        wanted = top_p * tl.sum(tiles_of_row(masses, row, num_tiles, 0.0, TILES), 0).to(tl.float32)
        wanted = tl.where(top_p < 1, 1.0001 * wanted, float("inf"))  # enough, whatever rounding does
        is_low_enough = (reached >= wanted) | (rung_key(rung) <= keys_of(min_p))
    return tl.min(tl.where(is_low_enough, rung, RUNGS - 1), 0)


@triton.jit
def _list_candidates(
    logits,
    logits_stride,
    slots,
    parameters,
    maxima,
    masses,
    rung_counts,
    rung_masses,
    candidates,
    vocab,
    num_tiles,
    TILES: tl.constexpr,
):
    row, tile = tl.program_id(0).to(tl.int64), tl.program_id(1)
    slot = tl.load(slots + row).to(tl.int64)
    if slot < 0:
        return
    own = parameters + slot * _NUM_PARAMS
    temperature = tl.load(own + _TEMPERATURE).to(tl.float32, bitcast=True)
    if temperature <= 0:
        return
    if not is_filtered(own, vocab):
        return
    largest = tl.max(tiles_of_row(maxima, row, num_tiles, float("-inf"), TILES), 0)
    if not is_finite(largest):
        return
    counts = rung_counts_of(rung_counts, row, num_tiles, TILES)
    rung = candidates_rung(own, counts, masses, rung_masses, row, vocab, num_tiles, TILES)
    counts = tl.sum(tl.where(tl.arange(0, RUNGS)[None, :] == rung, counts, 0), 1)  # (TILES,)
    if tl.sum(tl.where(tl.arange(0, TILES) == tile, counts, 0), 0) == 0:
        return
    before = tl.sum(tl.where(tl.arange(0, TILES) < tile, counts, 0), 0)
    weights = weights_of(logits + row * logits_stride, tile * TILE + tl.arange(0, TILE), vocab, largest, temperature)
    kept = keys_of(weights) >= rung_key(rung)
    place = before + tl.cumsum(kept.to(tl.int32), 0) - 1
    tl.store(candidates + row * vocab + place, weights, mask=kept)
