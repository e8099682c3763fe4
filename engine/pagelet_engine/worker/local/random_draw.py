"""A random token a row in torch: temperature, top-k, top-p, min-p, and one uniform number."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.kernels.reference.philox import uniform
from pagelet_engine.kernels.reference.thresholds import thresholds
from pagelet_engine.worker.local.draw import Draw
from pagelet_engine.worker.local.slots import Slots
from pagelet_engine.worker.results import Drawn

_CHUNK_BYTES = 8 << 20  # of cumulative weights at once: what does not leave the cache takes half the time


def draw_random(logits: Tensor, draws: Sequence[Draw], slots: Slots) -> Drawn:
    """logits (rows, vocab), a row a draw; overwritten."""
    length = max(1, _CHUNK_BYTES // (8 * slots.vocab_size))
    parts = [
        _random(logits[first : first + length], draws[first : first + length], slots)
        for first in range(0, len(draws), length)
    ]
    return Drawn(torch.cat([part.tokens for part in parts]), torch.cat([part.status for part in parts]))


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
    return Drawn(tokens.clamp_(max=slots.vocab_size - 1), total.isfinite().byte())


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
