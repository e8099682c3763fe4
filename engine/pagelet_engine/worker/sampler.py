"""One token a row of logits, for the whole batch at once.

The order: repetition, presence and frequency penalty, logit bias, min_tokens (edits.py), temperature, top-k, top-p,
min-p (filters.py), then one uniform number (philox.py): the drawn token is the first, in vocabulary order, whose
cumulative weight exceeds u × the total. Temperature 0 takes the largest logit, of equals the lowest token. A row's
token is a function of its logits, its parameters and its position alone: never of who else is in the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.worker.edits import Draw, edit
from pagelet_engine.worker.filters import thresholds
from pagelet_engine.worker.philox import uniform
from pagelet_engine.worker.slots import Slots

_CHUNK_BYTES = 8 << 20  # of cumulative weights at once: what does not leave the cache takes half the time


@dataclass(frozen=True, slots=True)
class Drawn:
    tokens: Tensor
    """(rows,) int64"""
    sound: Tensor
    """(rows,) bool: False where the logits hold NaN or infinity, so that the token means nothing."""


def sample(logits: Tensor, draws: Sequence[Draw], slots: Slots) -> Drawn:
    """logits (rows, vocab) fp32, left as they are; a row a draw. Rows pay only for the stages that they want."""
    involved = [row for row, draw in enumerate(draws) if draw.is_random(slots) or draw.is_edited(slots)]
    if not involved:
        return greedy(logits)
    plain = sorted(set(range(len(draws))).difference(involved))
    edited = _rows(logits, involved)
    edit(edited, [draws[row] for row in involved], slots)
    decided = [place for place, row in enumerate(involved) if not draws[row].is_random(slots)]
    random = [place for place, row in enumerate(involved) if draws[row].is_random(slots)]

    parts = []  # (rows of the batch, what was drawn for them)
    if plain:
        parts.append((plain, greedy(_rows(logits, plain))))
    if decided:
        parts.append(([involved[place] for place in decided], greedy(_rows(edited, decided))))
    length = max(1, _CHUNK_BYTES // (8 * slots.vocab_size))
    for first in range(0, len(random), length):
        places = random[first : first + length]
        rows = [involved[place] for place in places]
        parts.append((rows, _random(_rows(edited, places), [draws[row] for row in rows], slots)))
    order = torch.tensor([row for rows, _ in parts for row in rows], device=logits.device).argsort()
    return Drawn(
        torch.cat([drawn.tokens for _, drawn in parts])[order], torch.cat([drawn.sound for _, drawn in parts])[order]
    )


def greedy(logits: Tensor) -> Drawn:
    """The likeliest token of each row (rows, vocab)."""
    largest, tokens = logits.max(-1)  # the first of equals; NaN is larger than everything
    return Drawn(tokens, largest.isfinite())


def _random(logits: Tensor, draws: Sequence[Draw], slots: Slots) -> Drawn:
    """Draw from logits (rows, vocab), which are overwritten."""
    device, columns = logits.device, slots.sampling
    slot = torch.tensor([draw.slot for draw in draws], device=device)
    position = torch.tensor([draw.position for draw in draws], device=device)
    weights = logits.sub_(logits.amax(-1, keepdim=True)).div_(columns.temperature[slot, None]).exp_()

    wanted = [slots.seats[draw.slot].sampling for draw in draws]
    filtered = [row for row, s in enumerate(wanted) if 0 < s.top_k < slots.vocab_size or s.top_p < 1 or s.min_p > 0]
    if filtered:
        rows = torch.tensor(filtered, device=device)
        weights[rows] = _filtered(weights[rows], slot[rows], [wanted[row] for row in filtered], slots)

    sums = weights.cumsum(-1, dtype=torch.float64)
    total = sums[:, -1]
    target = uniform(columns.seed[slot], columns.sample_index[slot], position) * total
    tokens = torch.searchsorted(sums, target[:, None], right=True).squeeze(1)  # the first sum > target
    return Drawn(tokens.clamp_(max=slots.vocab_size - 1), total.isfinite())


def _filtered(weights: Tensor, slot: Tensor, settings: Sequence[SamplingParams], slots: Slots) -> Tensor:
    """weights (rows, vocab) of these slots (rows,), with 0 for every token that top-k, top-p or min-p drops."""
    columns = slots.sampling
    lowest = thresholds(
        weights,
        columns.top_k[slot],
        columns.top_p[slot],
        columns.min_p[slot],
        largest_k=max((own.top_k for own in settings if own.top_k < slots.vocab_size), default=0),
        any_top_p=any(own.top_p < 1 for own in settings),
    )
    return weights.masked_fill_(weights < lowest[:, None], 0.0)


def _rows(logits: Tensor, rows: Sequence[int]) -> Tensor:
    """A copy of these rows."""
    return logits.index_select(0, torch.tensor(rows, device=logits.device))
