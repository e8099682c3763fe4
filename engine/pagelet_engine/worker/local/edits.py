"""What changes logits before they become weights: penalties, logit bias, min_tokens, in that order."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pagelet_engine.worker.local.draw import Draw
from pagelet_engine.worker.local.slots import Slots


def edit(logits: Tensor, draws: Sequence[Draw], slots: Slots) -> None:
    """Change logits (rows, vocab) in place, a row a draw; each stage touches only the rows that want it."""
    seats = [slots.seats[draw.slot] for draw in draws]
    penalised = [row for row, seat in enumerate(seats) if seat.sampling.has_penalties]
    if penalised:
        rows = torch.tensor(penalised, device=logits.device)
        logits[rows] = _penalise(logits[rows], torch.tensor([draws[row].slot for row in penalised]), slots)
    biased = [(row, *seat.bias) for row, seat in enumerate(seats) if seat.bias is not None]
    if biased:
        rows = torch.cat([torch.full_like(tokens, row) for row, tokens, _ in biased])
        tokens, values = torch.cat([tokens for _, tokens, _ in biased]), torch.cat([values for *_, values in biased])
        logits.index_put_((rows, tokens), values, accumulate=True)
    early = [(row, seats[row].forbidden) for row, draw in enumerate(draws) if draw.is_too_early(slots)]
    if early:
        rows = torch.cat([torch.full_like(tokens, row) for row, tokens in early])
        logits[rows, torch.cat([tokens for _, tokens in early])] = -torch.inf


def _penalise(logits: Tensor, slot: Tensor, slots: Slots) -> Tensor:
    """logits (rows, vocab) of these slots (rows,) → the same, penalised.

    Repetition (Keskar et al. 2019, "CTRL") divides a positive logit and multiplies a negative one, for tokens of prompt
    and output. Presence is subtracted once, frequency for each time, for tokens of the output.
    """
    slot = slot.to(logits.device)
    counts, columns = slots.output_counts[slot], slots.sampling
    repetition = columns.repetition[slot, None]
    drawn = counts > 0
    repeated = torch.where(logits > 0, logits / repetition, logits * repetition)
    logits = torch.where(drawn | slots.in_prompt[slot], repeated, logits)
    return logits - columns.frequency[slot, None] * counts - columns.presence[slot, None] * drawn
