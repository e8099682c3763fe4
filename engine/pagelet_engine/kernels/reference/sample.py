"""One token a row of logits, from the packed table: the oracle of the sampler on GPUs, and what ranks on a CPU use.

The order: repetition penalty (Keskar et al. 2019, "CTRL": a positive logit is divided, a negative one multiplied; for
tokens of prompt and output), frequency and presence penalty (output), logit bias, min_tokens; temperature, top-k,
top-p, min-p; then one uniform number: the drawn token is the first, in vocabulary order, whose cumulative weight
exceeds u × the total. Temperature 0 takes the largest logit, of equals the lowest token.
"""

import torch
from torch import Tensor

from pagelet_engine.kernels.reference.philox import uniform
from pagelet_engine.kernels.reference.thresholds import thresholds
from pagelet_engine.kernels.row_status import RowStatus
from pagelet_engine.kernels.sampling_table import (
    BIAS_MASK,
    BIAS_SHIFT,
    COUNT_MASK,
    FLAGS,
    FORBIDDEN_SHIFT,
    FREQUENCY,
    HAS_PENALTIES,
    MIN_P,
    MIN_POSITION,
    PRESENCE,
    REPETITION,
    SAMPLE_INDEX,
    SEED_HIGH,
    SEED_LOW,
    TEMPERATURE,
    TOP_K,
    TOP_P,
    SamplingTable,
)


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
    """logits (rows, vocab) fp32, left as they are; draw_slots (rows,) int32, −1: a padded row; draw_positions (rows,)
    int32: the drawn token's place in its sequence → tokens (rows,) int32, status (rows,) int32: RowStatus.

    What the host knows saves work: whether penalties, bias or min_tokens may change any row, whether any has a
    temperature above 0, and any of those top-k, top-p or min-p.
    """
    tokens, status = torch.zeros_like(draw_slots), torch.zeros_like(draw_slots)
    real = draw_slots >= 0
    logits, slots, positions = logits[real], draw_slots[real], draw_positions[real]  # a copy
    is_finite = logits.amax(-1).isfinite()
    if any_edited:
        _edit(logits, slots, positions, table)
    largest, likeliest = logits.max(-1)  # the first of equals; NaN is larger than everything
    is_left = largest.isfinite()
    if any_random:
        rows = (_floats(table, slots, TEMPERATURE) > 0).nonzero().squeeze(1)
        likeliest[rows], is_left[rows] = _draw(logits[rows], slots[rows], positions[rows], table, any_filtered)
    left = torch.where(is_left, RowStatus.SAMPLED, RowStatus.NOTHING_LEFT)
    tokens[real], status[real] = likeliest.int(), torch.where(is_finite, left, RowStatus.NON_FINITE).int()
    return tokens, status


def _edit(logits: Tensor, slots: Tensor, positions: Tensor, table: SamplingTable) -> None:
    """Change logits (rows, vocab) in place."""
    flags = table.params[slots, FLAGS]
    penalised = ((flags & HAS_PENALTIES) != 0).nonzero().squeeze(1)
    logits[penalised] = _penalised(logits[penalised], slots[penalised], table)
    numbers = zip(slots.tolist(), positions.tolist(), flags.tolist(), strict=True)
    for row, (slot, position, bits) in enumerate(numbers):
        biased = slice(bits >> BIAS_SHIFT & BIAS_MASK)
        logits[row, table.bias_tokens[slot, biased]] += table.bias_values[slot, biased]
        if position < table.params[slot, MIN_POSITION]:
            logits[row, table.forbidden[slot, : bits >> FORBIDDEN_SHIFT]] = -torch.inf


def _penalised(logits: Tensor, slots: Tensor, table: SamplingTable) -> Tensor:
    repetition, presence, frequency = (
        _floats(table, slots, column)[:, None] for column in (REPETITION, PRESENCE, FREQUENCY)
    )
    seen = table.token_counts[slots]
    counts = seen & COUNT_MASK
    repeated = torch.where(logits > 0, logits / repetition, logits * repetition)
    logits = torch.where(seen > 0, repeated, logits)
    return logits - frequency * counts - presence * (counts > 0)


def _draw(
    logits: Tensor, slots: Tensor, positions: Tensor, table: SamplingTable, any_filtered: bool
) -> tuple[Tensor, Tensor]:
    """A random token of each of logits (rows, vocab): tokens (rows,) int64, and whether they mean anything, bool."""
    params, vocab = table.params[slots].long(), logits.shape[1]
    weights = ((logits - logits.amax(-1, keepdim=True)) / _floats(table, slots, TEMPERATURE)[:, None]).exp()
    if any_filtered:
        top_k, top_p, min_p = params[:, TOP_K], _floats(table, slots, TOP_P), _floats(table, slots, MIN_P)
        largest_k = max((k for k in top_k.tolist() if k < vocab), default=0)
        lowest = thresholds(weights, top_k, top_p, min_p, largest_k, bool((top_p < 1).any()))
        weights.masked_fill_(weights < lowest[:, None], 0.0)
    sums = weights.cumsum(-1, dtype=torch.float64)
    total = sums[:, -1]
    seed = params[:, SEED_HIGH] << 32 | params[:, SEED_LOW] & 0xFFFFFFFF
    target = uniform(seed, params[:, SAMPLE_INDEX], positions.long()) * total
    tokens = torch.searchsorted(sums, target[:, None], right=True).squeeze(1)  # the first sum > target
    return tokens.clamp(max=vocab - 1), total.isfinite()


def _floats(table: SamplingTable, slots: Tensor, column: int) -> Tensor:
    """(rows,) fp32"""
    return table.params[slots, column].view(torch.float32)
