"""One token a row of logits, for the whole batch at once.

The order: repetition, presence and frequency penalty, logit bias, min_tokens (edits.py), temperature, top-k, top-p,
min-p (sampling_ops.py), then one uniform number (Philox): the drawn token is the first, in vocabulary order, whose
cumulative weight exceeds u × the total. Temperature 0 takes the largest logit, of equals the lowest token. A row's
token is a function of its logits, its parameters and its position alone: never of who else is in the batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pagelet_engine.kernels.row_status import RowStatus
from pagelet_engine.worker.local.draw import Draw
from pagelet_engine.worker.local.edits import edit
from pagelet_engine.worker.local.sampling_ops import SamplingOps
from pagelet_engine.worker.local.slots import Slots
from pagelet_engine.worker.results import Drawn


def sample(logits: Tensor, likeliest: Drawn, draws: Sequence[Draw], slots: Slots, ops: SamplingOps) -> Drawn:
    """logits (rows, vocab) fp32, left as they are; likeliest: their largest; a row a draw. Rows pay only for the stages
    that they want, and only edits are made on a copy."""
    edited = [row for row, draw in enumerate(draws) if draw.is_edited(slots)]
    random = [row for row, draw in enumerate(draws) if draw.is_random(slots) and not draw.is_edited(slots)]
    if random:
        _put(ops.draw(logits, random, [draws[row] for row in random], slots), random, likeliest)
    if edited:
        changed = logits.index_select(0, torch.tensor(edited, device=logits.device))
        edit(changed, [draws[row] for row in edited], slots)
        drawn = greedy(changed)
        if again := [place for place, row in enumerate(edited) if draws[row].is_random(slots)]:
            _put(ops.draw(changed, again, [draws[edited[place]] for place in again], slots), again, drawn)
        _put(_after_edits(drawn, likeliest.status[edited]), edited, likeliest)
    return likeliest


def greedy(logits: Tensor) -> Drawn:
    """The likeliest token of each row (rows, vocab)."""
    largest, tokens = logits.max(-1)  # the first of equals; NaN is larger than everything
    return Drawn(tokens, largest.isfinite().byte())


def _after_edits(drawn: Drawn, raw: Tensor) -> Drawn:
    """What was drawn from edited rows, whose logits as the model made them had the status `raw`."""
    left = torch.where(drawn.status == RowStatus.SAMPLED, RowStatus.SAMPLED, RowStatus.NOTHING_LEFT)
    return Drawn(drawn.tokens, torch.where(raw == RowStatus.SAMPLED, left, RowStatus.NON_FINITE).byte())


def _put(drawn: Drawn, rows: Sequence[int], into: Drawn) -> None:
    """What was drawn for these rows takes its place among all."""
    place = torch.tensor(rows, device=into.tokens.device)
    into.tokens[place], into.status[place] = drawn.tokens, drawn.status
