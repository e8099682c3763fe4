"""Rows of logits, cut into tiles of the vocabulary: what is learned of each tile, by a program of its own.

A row of a hundred thousand logits is too long for one program when rows are few. So everything that walks a whole row
is done by tiles, and what a tile tells is small enough for each later program to add up a row's tiles by itself:

- its largest logit, and where it is (`tile_maxima`);
- the sum of its weights exp((logit − the row's largest) / temperature), in fp64 (`tile_masses`);
- where top-k, top-p or min-p are wanted, of each *rung*: how many weights are at least this large, and their sum.
  Rungs are weights 1, ½, … 2⁻⁷, then 2⁻⁹, 2⁻¹¹ … 2⁻²¹, and last everything above 0. They bound the threshold from
  below before anything is searched.

A weight's *key* is its bits as int32: weights lie in [0, 1], so keys are ordered as they are.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from pagelet_engine.kernels import sampling_table
from pagelet_engine.kernels.sampling_table import SamplingTable

TILE = tl.constexpr(4096)
RUNGS = tl.constexpr(16)
_PART = tl.constexpr(512)  # of a tile, compared with all rungs at once

_NUM_PARAMS = tl.constexpr(sampling_table.NUM_PARAMS)
_TEMPERATURE = tl.constexpr(sampling_table.TEMPERATURE)


@dataclass(frozen=True, slots=True)
class Maxima:
    largest: Tensor
    """(rows, tiles) fp32; infinity where a tile holds NaN."""
    tokens: Tensor
    """(rows, tiles) int32: of equals the lowest."""


@dataclass(frozen=True, slots=True)
class Masses:
    """Of rows with a temperature, whose logits are finite."""

    all: Tensor
    """(rows, tiles) fp64"""
    rung_counts: Tensor
    """(rows, tiles, rungs) int32"""
    rungs: Tensor
    """(rows, tiles, rungs) fp32"""


def num_tiles(vocab: int) -> int:
    return -(-vocab // int(TILE.value))


def tile_maxima(logits: Tensor, draw_slots: Tensor) -> Maxima:
    """logits (rows, vocab) fp32; draw_slots (rows,) int32, −1: a padded row, of which nothing is read or said."""
    rows, vocab = logits.shape
    largest = torch.empty(rows, num_tiles(vocab), dtype=torch.float32, device=logits.device)
    tokens = torch.empty(rows, num_tiles(vocab), dtype=torch.int32, device=logits.device)
    _tile_maxima[largest.shape](logits, logits.stride(0), draw_slots, largest, tokens, vocab, enable_fp_fusion=True)
    return Maxima(largest, tokens)


def tile_masses(logits: Tensor, draw_slots: Tensor, table: SamplingTable, maxima: Maxima, with_rungs: bool) -> Masses:
    """logits and draw_slots as above, and what was found of them."""
    rows, vocab = logits.shape
    tiles = num_tiles(vocab)
    rungs = RUNGS.value if with_rungs else 0
    masses = Masses(
        torch.empty(rows, tiles, dtype=torch.float64, device=logits.device),
        torch.empty(rows, tiles, rungs, dtype=torch.int32, device=logits.device),
        torch.empty(rows, tiles, rungs, dtype=torch.float32, device=logits.device),
    )
    _tile_masses[(rows, tiles)](
        logits,
        logits.stride(0),
        draw_slots,
        table.params,
        maxima.largest,
        masses.all,
        masses.rung_counts,
        masses.rungs,
        vocab,
        tiles,
        TILES=triton.next_power_of_2(tiles),
        WITH_RUNGS=with_rungs,
        num_warps=8,
        enable_fp_fusion=False,
    )
    return masses


@triton.jit
def tiles_of_row(facts, row, num_tiles, other, TILES: tl.constexpr):
    """(TILES,) what was learned of each tile of a row."""
    tile = tl.arange(0, TILES)
    return tl.load(facts + row * num_tiles + tile, mask=tile < num_tiles, other=other)


@triton.jit
def is_finite(largest):
    """Whether a row with this largest logit has weights; NaN has become infinity."""
    return (largest > float("-inf")) & (largest < float("inf"))


@triton.jit
def weights_of(logits, token, vocab, largest, temperature):
    """The weights of these tokens of a row, 0 past its end. Every kernel computes them alike, to the bit."""
    x = tl.load(logits + token, mask=token < vocab, other=float("-inf"))
    return tl.exp(tl.div_rn(x - largest, temperature))


@triton.jit
def keys_of(weights):
    return weights.to(tl.int32, bitcast=True)


@triton.jit
def rung_key(rung):
    """The least key that is on a rung."""
    exponent = tl.where(rung < 8, rung, 2 * rung - 7)
    return tl.where(rung < RUNGS - 1, (127 - exponent) << 23, 1)


@triton.jit
def _tile_maxima(logits, logits_stride, slots, largest, tokens, vocab):
    row, tile = tl.program_id(0).to(tl.int64), tl.program_id(1)
    if tl.load(slots + row) < 0:
        return
    token = tile * TILE + tl.arange(0, TILE)
    x = tl.load(logits + row * logits_stride + token, mask=token < vocab, other=float("-inf"))
    x = tl.where(x != x, float("inf"), x)
    value, place = tl.max(x, 0, return_indices=True, return_indices_tie_break_left=True)
    tl.store(largest + row * tl.num_programs(1) + tile, value)
    tl.store(tokens + row * tl.num_programs(1) + tile, tile * TILE + place)


@triton.jit
def _tile_masses(
    logits,
    logits_stride,
    slots,
    parameters,
    maxima,
    masses,
    rung_counts,
    rung_masses,
    vocab,
    num_tiles,
    TILES: tl.constexpr,
    WITH_RUNGS: tl.constexpr,
):
    row, tile = tl.program_id(0).to(tl.int64), tl.program_id(1)
    slot = tl.load(slots + row).to(tl.int64)
    if slot < 0:
        return
    temperature = tl.load(parameters + slot * _NUM_PARAMS + _TEMPERATURE).to(tl.float32, bitcast=True)
    if temperature <= 0:
        return
    largest = tl.max(tiles_of_row(maxima, row, num_tiles, float("-inf"), TILES), 0)
    if not is_finite(largest):
        return
    logits += row * logits_stride
    rung = tl.arange(0, RUNGS)
    least = rung_key(rung)
    mass = tl.zeros((_PART,), tl.float64)
    counts = tl.zeros((RUNGS, _PART), tl.int32)
    sums = tl.zeros((RUNGS, _PART), tl.float32)
    for start in tl.range(0, TILE, _PART, num_stages=4):
        weights = weights_of(logits, tile * TILE + start + tl.arange(0, _PART), vocab, largest, temperature)
        mass += weights.to(tl.float64)
        if WITH_RUNGS:
            on_rung = keys_of(weights)[None, :] >= least[:, None]
            counts += on_rung.to(tl.int32)
            sums += tl.where(on_rung, weights[None, :], 0.0)
    place = row * num_tiles + tile
    tl.store(masses + place, tl.sum(mass, 0))
    if WITH_RUNGS:
        tl.store(rung_counts + place * RUNGS + rung, tl.sum(counts, 1))
        tl.store(rung_masses + place * RUNGS + rung, tl.sum(sums, 1))
