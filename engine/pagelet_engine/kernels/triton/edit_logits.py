"""What changes logits before they become weights: penalties, logit bias, min_tokens, in that order.

x = logit / repetition if logit > 0 else logit · repetition     where the token is in prompt or output
x = x − frequency · count − presence · (count > 0)              count: times in the output
x = x + bias;  x = −∞ for tokens that end the sample, while it is too short
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from pagelet_engine.kernels import sampling_table
from pagelet_engine.kernels.sampling_table import SamplingTable
from pagelet_engine.kernels.triton.vocabulary_tiles import TILE, num_tiles

_NUM_PARAMS = tl.constexpr(sampling_table.NUM_PARAMS)
_REPETITION = tl.constexpr(sampling_table.REPETITION)
_PRESENCE = tl.constexpr(sampling_table.PRESENCE)
_FREQUENCY = tl.constexpr(sampling_table.FREQUENCY)
_MIN_POSITION = tl.constexpr(sampling_table.MIN_POSITION)
_FLAGS = tl.constexpr(sampling_table.FLAGS)
_HAS_PENALTIES = tl.constexpr(sampling_table.HAS_PENALTIES)
_HAS_BIAS = tl.constexpr(sampling_table.HAS_BIAS)
_BIAS_SHIFT = tl.constexpr(sampling_table.BIAS_SHIFT)
_BIAS_MASK = tl.constexpr(sampling_table.BIAS_MASK)
_FORBIDDEN_SHIFT = tl.constexpr(sampling_table.FORBIDDEN_SHIFT)
_COUNT_MASK = tl.constexpr(sampling_table.COUNT_MASK)


def edit_logits(
    logits: Tensor, draw_slots: Tensor, draw_positions: Tensor, table: SamplingTable
) -> tuple[Tensor, Tensor]:
    """logits (rows, vocab) fp32, draw_slots (rows,) int32, −1: a padded row, draw_positions (rows,) int32 → a changed
    copy (rows, vocab), contiguous, and the largest of each tile as it was, (rows, tiles), infinity for NaN."""
    rows, vocab = logits.shape
    edited = torch.empty(rows, vocab, dtype=torch.float32, device=logits.device)
    largest = torch.empty(rows, num_tiles(vocab), dtype=torch.float32, device=logits.device)
    _edit_logits[largest.shape](
        logits,
        logits.stride(0),
        edited,
        largest,
        draw_slots,
        draw_positions,
        table.params,
        table.token_counts,
        table.bias_tokens,
        table.bias_values,
        table.forbidden,
        vocab,
        table.bias_tokens.shape[1],
        table.forbidden.shape[1],
        ENTRIES=128,
        enable_fp_fusion=False,  # rounded as the oracle rounds
    )
    return edited, largest


@triton.jit
def _edit_logits(
    logits,
    logits_stride,
    edited,
    largest,
    slots,
    positions,
    parameters,
    token_counts,
    bias_tokens,
    bias_values,
    forbidden,
    vocab,
    max_bias,
    max_forbidden,
    ENTRIES: tl.constexpr,
):
    row, first = tl.program_id(0).to(tl.int64), tl.program_id(1) * TILE
    slot = tl.load(slots + row).to(tl.int64)
    if slot < 0:
        return
    own = parameters + slot * _NUM_PARAMS
    flags = tl.load(own + _FLAGS)
    token = first + tl.arange(0, TILE)
    inside = token < vocab
    x = tl.load(logits + row * logits_stride + token, mask=inside, other=float("-inf"))
    tl.store(largest + row * tl.num_programs(1) + tl.program_id(1), tl.max(tl.where(x != x, float("inf"), x), 0))
    if flags & _HAS_PENALTIES:
        repetition = tl.load(own + _REPETITION).to(tl.float32, bitcast=True)
        presence = tl.load(own + _PRESENCE).to(tl.float32, bitcast=True)
        frequency = tl.load(own + _FREQUENCY).to(tl.float32, bitcast=True)
        seen = tl.load(token_counts + slot * vocab + token, mask=inside, other=0)
        count = (seen & _COUNT_MASK).to(tl.float32)
        repeated = tl.where(x > 0, tl.div_rn(x, repetition), x * repetition)
        x = tl.where(seen > 0, repeated, x)
        x = x - frequency * count - presence * (count > 0).to(tl.float32)
    edited += row * vocab
    tl.store(edited + token, x, mask=inside)

    # Single tokens of this tile are changed where the tile has just been written, by other threads.
    if flags & _HAS_BIAS:
        tl.debug_barrier()
        num_bias = flags >> _BIAS_SHIFT & _BIAS_MASK
        for start in range(0, num_bias, ENTRIES):
            entry = start + tl.arange(0, ENTRIES)
            biased = tl.load(bias_tokens + slot * max_bias + entry, mask=entry < num_bias, other=-1)
            mine = (biased >= first) & (biased < first + TILE)
            value = tl.load(bias_values + slot * max_bias + entry, mask=mine, other=0.0)
            tl.store(edited + biased, tl.load(edited + biased, mask=mine, other=0.0) + value, mask=mine)
    if tl.load(positions + row) < tl.load(own + _MIN_POSITION):
        tl.debug_barrier()
        num_forbidden = flags >> _FORBIDDEN_SHIFT
        for start in range(0, num_forbidden, ENTRIES):
            entry = start + tl.arange(0, ENTRIES)
            ending = tl.load(forbidden + slot * max_forbidden + entry, mask=entry < num_forbidden, other=-1)
            mine = (ending >= first) & (ending < first + TILE)
            tl.store(edited + ending, tl.full((ENTRIES,), float("-inf"), tl.float32), mask=mine)
