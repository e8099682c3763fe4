"""One token a row of logits, from the packed table, on the device alone: no sort of the vocabulary, no wait for it.

What is drawn is kernels/reference/sample.py's, up to the rounding of exp and of sums. In five launches at most: edits
on a copy, each tile's largest logit, each tile's weights, the candidates of the filters, and the draw, a program a row:

    top-k   t = the largest key with  #{w ≥ t} ≥ k
    top-p   t = the largest key with  Σ{w ≥ t} ≥ top_p · Σ{w kept by top-k}
    draw    the first token, in the vocabulary's order, with  Σ{w kept, up to it} > u · Σ{w kept}

Thresholds are found by search over keys, eight at a time, so that eight or nine walks of the candidates suffice, and
ties are kept together. Sums are fp64. A row's token is the same in any batch: every order of addition is fixed.

Estimated for an H100 and 128k tokens; not measured. To walk 256 rows is to move 131 MB, 45 µs at 3 TB/s: so long take
the maxima and the listing; the rungs' 100 operations a logit take 130 µs, and to draw among a thousand candidates
30 µs, all rows at once: 0.25 ms. Where nothing narrows the candidates (a flat row and top-p alone), ten walks of all of
them at 45 µs are added: 0.7 ms. One row is 32 programs, then one: 30 µs; a flat one 0.25 ms. Edits move 131 MB twice
more: 90 µs.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from pagelet_engine.kernels import sampling_table
from pagelet_engine.kernels.row_status import RowStatus
from pagelet_engine.kernels.sampling_table import SamplingTable
from pagelet_engine.kernels.triton.candidates import candidates_rung, is_filtered, list_candidates, rung_counts_of
from pagelet_engine.kernels.triton.edit_logits import edit_logits
from pagelet_engine.kernels.triton.philox import uniform
from pagelet_engine.kernels.triton.vocabulary_tiles import (
    RUNGS,
    TILE,
    is_finite,
    keys_of,
    rung_key,
    tile_masses,
    tile_maxima,
    tiles_of_row,
    weights_of,
)

_NUM_PARAMS = tl.constexpr(sampling_table.NUM_PARAMS)
_TEMPERATURE = tl.constexpr(sampling_table.TEMPERATURE)
_TOP_K = tl.constexpr(sampling_table.TOP_K)
_TOP_P = tl.constexpr(sampling_table.TOP_P)
_MIN_P = tl.constexpr(sampling_table.MIN_P)
_SEED_LOW = tl.constexpr(sampling_table.SEED_LOW)
_SEED_HIGH = tl.constexpr(sampling_table.SEED_HIGH)
_SAMPLE_INDEX = tl.constexpr(sampling_table.SAMPLE_INDEX)

_NON_FINITE = tl.constexpr(int(RowStatus.NON_FINITE))
_SAMPLED = tl.constexpr(int(RowStatus.SAMPLED))
_NOTHING_LEFT = tl.constexpr(int(RowStatus.NOTHING_LEFT))

_CHUNK = tl.constexpr(512)  # candidates at once
_PIVOTS = tl.constexpr(8)
_STAGES = tl.constexpr(4)  # chunks under way while a list is walked
_KEY_OF_ONE = tl.constexpr(0x3F800000)


def sample(
    logits: Tensor,
    draw_slots: Tensor,
    draw_positions: Tensor,
    table: SamplingTable,
    *,
    any_edited: bool,
    any_random: bool,
    any_filtered: bool,
) -> tuple[Tensor, Tensor]:
    """logits (rows, vocab) fp32, rows of any stride, left as they are; draw_slots (rows,) int32, −1: a padded row, of
    which nothing is read, and whose outputs are anything; draw_positions (rows,) int32: the drawn token's place in its
    sequence → tokens (rows,) int32, status (rows,) int32: RowStatus.

    What the host knows saves launches: whether penalties, bias or min_tokens may change any row, whether any has a
    temperature above 0, and any of those top-k, top-p or min-p.
    """
    assert logits.stride(1) == 1
    rows, vocab = logits.shape
    tokens, status = torch.empty_like(draw_slots), torch.empty_like(draw_slots)
    raw_largest = None
    if any_edited:
        logits, raw_largest = edit_logits(logits, draw_slots, draw_positions, table)
    maxima = tile_maxima(logits, draw_slots)
    masses = tile_masses(logits, draw_slots, table, maxima, with_rungs=any_filtered) if any_random else None
    candidates = list_candidates(logits, draw_slots, table, maxima, masses) if masses and any_filtered else None
    tiles = maxima.largest.shape[1]
    _draw[(rows,)](
        logits,
        logits.stride(0),
        draw_slots,
        draw_positions,
        table.params,
        raw_largest,
        maxima.largest,
        maxima.tokens,
        masses and masses.all,
        masses and masses.rung_counts,
        masses and masses.rungs,
        candidates,
        tokens,
        status,
        vocab,
        tiles,
        TILES=triton.next_power_of_2(tiles),
        EDITED=raw_largest is not None,
        RANDOM=masses is not None,
        FILTERED=candidates is not None,
        num_warps=8,
        enable_fp_fusion=False,
    )
    return tokens, status


@triton.jit
def _draw(
    logits,
    logits_stride,
    slots,
    positions,
    parameters,
    raw_maxima,
    maxima,
    likeliest,
    masses,
    rung_counts,
    rung_masses,
    candidates,
    tokens,
    status,
    vocab,
    num_tiles,
    TILES: tl.constexpr,
    EDITED: tl.constexpr,
    RANDOM: tl.constexpr,
    FILTERED: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    slot = tl.load(slots + row).to(tl.int64)
    if slot < 0:
        return
    tile_largest = tiles_of_row(maxima, row, num_tiles, float("-inf"), TILES)
    largest = tl.max(tile_largest, 0)
    tile_tokens = tiles_of_row(likeliest, row, num_tiles, vocab, TILES)
    token = tl.min(tl.where(tile_largest == largest, tile_tokens, vocab), 0)
    is_left = is_finite(largest)
    row_status = tl.where(is_left, _SAMPLED, _NON_FINITE)
    if EDITED:
        is_number = is_finite(tl.max(tiles_of_row(raw_maxima, row, num_tiles, float("-inf"), TILES), 0))
        row_status = tl.where(is_number, tl.where(is_left, _SAMPLED, _NOTHING_LEFT), _NON_FINITE)
    if RANDOM:
        own = parameters + slot * _NUM_PARAMS
        temperature = tl.load(own + _TEMPERATURE).to(tl.float32, bitcast=True)
        if (temperature > 0) & is_left:
            number = uniform(
                tl.load(own + _SEED_LOW),
                tl.load(own + _SEED_HIGH),
                tl.load(own + _SAMPLE_INDEX),
                tl.load(positions + row),
            )
            logits += row * logits_stride
            tile_masses = tiles_of_row(masses, row, num_tiles, 0.0, TILES)
            if FILTERED:
                if is_filtered(own, vocab):
                    counts = rung_counts_of(rung_counts, row, num_tiles, TILES)
                    rung = candidates_rung(own, counts, masses, rung_masses, row, vocab, num_tiles, TILES)
                    counts = tl.sum(tl.where(tl.arange(0, RUNGS)[None, :] == rung, counts, 0), 1)  # (TILES,)
                    length = tl.sum(counts, 0)
                    candidates += row * vocab
                    least = _threshold(own, candidates, length, rung, tl.sum(tile_masses, 0), vocab)
                    place = _drawn_candidate(candidates, length, least, number)
                    token = _token_of(place, counts, rung_key(rung), logits, vocab, largest, temperature, TILES)
                else:
                    token = _drawn_of_all(tile_masses, number, logits, vocab, largest, temperature, TILES)
            else:
                token = _drawn_of_all(tile_masses, number, logits, vocab, largest, temperature, TILES)
    tl.store(tokens + row, token)
    tl.store(status + row, row_status)


@triton.jit
def _threshold(own, candidates, length, rung, mass, vocab):
    """The least key that the filters keep, of candidates (length,) on this rung; mass: of the whole row."""
    top_k = tl.load(own + _TOP_K)
    top_p = tl.load(own + _TOP_P).to(tl.float32, bitcast=True)
    least = rung_key(rung)
    beyond = tl.full([], _KEY_OF_ONE + 1, tl.int32)  # no weight's key
    if top_k < vocab:
        above = tl.where(rung > 0, rung_key(rung - 1), beyond)  # too high a rung for k
        if length >= top_k:  # else only weights of 0 are missing
            least = _search(candidates, length, least, above, top_k, False)
        if top_p < 1:
            mass = _mass_from(candidates, length, least)
    if top_p < 1:
        least = _search(candidates, length, least, beyond, top_p.to(tl.float64) * mass, True)
    return tl.maximum(least, keys_of(tl.load(own + _MIN_P).to(tl.float32, bitcast=True)))


@triton.jit
def _search(candidates, length, low, high, wanted, BY_MASS: tl.constexpr):
    """The largest key in [low, high) from which on there are `wanted` candidates, or so much of their mass; low, if
    there is none."""
    while high - low > 1:
        step = (high - low + _PIVOTS) // (_PIVOTS + 1)
        pivot = low + (1 + tl.arange(0, _PIVOTS)) * step
        sums = tl.zeros((_PIVOTS, _CHUNK), tl.float64 if BY_MASS else tl.int32)
        for start in tl.range(0, length, _CHUNK, num_stages=_STAGES):
            place = start + tl.arange(0, _CHUNK)
            weights = tl.load(candidates + place, mask=place < length, other=0.0)
            is_above = weights.to(tl.int32, bitcast=True)[None, :] >= pivot[:, None]
            if BY_MASS:
                sums += tl.where(is_above, weights.to(tl.float64)[None, :], 0.0)
            else:
                sums += is_above.to(tl.int32)
        reached = (tl.sum(sums, 1) >= wanted) & (pivot < high)
        steps = tl.sum(reached.to(tl.int32), 0)
        high = tl.minimum(high, low + (steps + 1) * step)
        low += steps * step
    return low


@triton.jit
def _kept(candidates, start, length, least):
    """(_CHUNK,) weights, 0 for those below."""
    place = start + tl.arange(0, _CHUNK)
    weights = tl.load(candidates + place, mask=place < length, other=0.0)
    return tl.where(keys_of(weights) >= least, weights, 0.0).to(tl.float64)


@triton.jit
def _mass_from(candidates, length, least):
    mass = tl.full([], 0.0, tl.float64)
    for start in tl.range(0, length, _CHUNK, num_stages=_STAGES):
        mass += tl.sum(_kept(candidates, start, length, least), 0)
    return mass


@triton.jit
def _drawn_candidate(candidates, length, least, number):
    """The place in the list of the drawn candidate."""
    target = number * _mass_from(candidates, length, least)
    # The same sums in the same order: the target lies before the end, in a chunk that has mass.
    start = length * 0
    before = tl.full([], 0.0, tl.float64)
    mass = tl.sum(_kept(candidates, start, length, least), 0)
    while (before + mass <= target) & (start + _CHUNK < length):
        before += mass
        start += _CHUNK
        mass = tl.sum(_kept(candidates, start, length, least), 0)
    return start + _crossing(_kept(candidates, start, length, least), before, target, _CHUNK)


@triton.jit
def _crossing(weights, before, target, LENGTH: tl.constexpr):
    """The first of weights (LENGTH,) fp64 whose cumulative sum exceeds the target; the last, where rounding hides it.
    Never one of weight 0."""
    lane = tl.arange(0, LENGTH)
    may = weights > 0
    first = tl.min(tl.where(may & (before + tl.cumsum(weights, 0) > target), lane, LENGTH), 0)
    last = tl.max(tl.where(may, lane, 0), 0)
    return tl.where(first < LENGTH, first, last)


@triton.jit
def _token_of(place, counts, least, logits, vocab, largest, temperature, TILES: tl.constexpr):
    """The token of the candidate at this place in the list; counts (TILES,): how many each tile gave to it."""
    tile = tl.sum((tl.cumsum(counts, 0) <= place).to(tl.int32), 0)
    before = tl.sum(tl.where(tl.arange(0, TILES) < tile, counts, 0), 0)
    token = tile * TILE + tl.arange(0, TILE)
    listed = keys_of(weights_of(logits, token, vocab, largest, temperature)) >= least
    is_it = listed & (tl.cumsum(listed.to(tl.int32), 0) == place - before + 1)
    return tl.min(tl.where(is_it, token, vocab - 1), 0)


@triton.jit
def _drawn_of_all(tile_masses, number, logits, vocab, largest, temperature, TILES: tl.constexpr):
    """The drawn token, of a row that keeps all."""
    sums = tl.cumsum(tile_masses, 0)
    target = number * tl.max(sums, 0)
    tile = _crossing(tile_masses, tl.full([], 0.0, tl.float64), target, TILES)
    before = tl.max(tl.where(tl.arange(0, TILES) < tile, sums, 0.0), 0)
    token = tile * TILE + tl.arange(0, TILE)
    weights = weights_of(logits, token, vocab, largest, temperature).to(tl.float64)
    return tile * TILE + _crossing(weights, before, target, TILE)
