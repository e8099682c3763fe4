"""One token a row of logits, for the whole batch at once.

The order: repetition, presence and frequency penalty, logit bias, min_tokens (edits.py), temperature, top-k, top-p,
min-p (sampling_ops.py), then one uniform number (philox.py): the drawn token is the first, in vocabulary order, whose
cumulative weight exceeds u × the total. Temperature 0 takes the largest logit, of equals the lowest token. A row's
token is a function of its logits, its parameters and its position alone: never of who else is in the batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pagelet_engine.worker.draw import Draw, Drawn
from pagelet_engine.worker.edits import edit
from pagelet_engine.worker.sampling_ops import SamplingOps
from pagelet_engine.worker.slots import Slots


def sample(logits: Tensor, draws: Sequence[Draw], slots: Slots, ops: SamplingOps) -> Drawn:
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
    if random:
        rows = [involved[place] for place in random]
        parts.append((rows, ops.draw(_rows(edited, random), [draws[row] for row in rows], slots)))
    order = torch.tensor([row for rows, _ in parts for row in rows], device=logits.device).argsort()
    return Drawn(
        torch.cat([drawn.tokens for _, drawn in parts])[order], torch.cat([drawn.sound for _, drawn in parts])[order]
    )


def greedy(logits: Tensor) -> Drawn:
    """The likeliest token of each row (rows, vocab)."""
    largest, tokens = logits.max(-1)  # the first of equals; NaN is larger than everything
    return Drawn(tokens, largest.isfinite())


def _rows(logits: Tensor, rows: Sequence[int]) -> Tensor:
    """A copy of these rows."""
    return logits.index_select(0, torch.tensor(rows, device=logits.device))
