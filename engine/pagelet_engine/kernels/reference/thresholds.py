"""Top-k, top-p and min-p as one threshold a row.

Weights are exp((logit - max) / temperature): the likeliest token has weight 1. Each filter keeps every token whose
weight is at least its threshold: tokens as likely as the last one kept are kept too, so no order among equals matters.
"""

import torch
from torch import Tensor

# Likeliest tokens fetched before a whole sort: nearly every nucleus fits.
_CANDIDATES = 1024


def thresholds(weights: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor, largest_k: int, any_top_p: bool) -> Tensor:
    """weights (rows, vocab) fp32; top_k (rows,) int64 from 1 to vocab, top_p and min_p (rows,) → (rows,) fp32.

    top-k: the weight of the k-th likeliest. top-p: of what top-k kept, that of the last token of the smallest set of
    likeliest ones whose sum reaches top_p of the total. min-p: min_p, since the likeliest weighs 1. The largest counts.

    What the host knows saves work: the largest of top_k below the vocabulary's size (0: none), and whether any of top_p
    is below 1.
    """
    if not largest_k and not any_top_p:
        return min_p
    vocab = weights.shape[1]
    width = min(vocab, max(largest_k, _CANDIDATES if any_top_p else 0))
    candidates = weights.topk(width).values  # (rows, width), descending
    lowest = torch.zeros_like(min_p)
    if largest_k:
        kth = candidates.gather(1, top_k.clamp(max=width)[:, None] - 1).squeeze(1)
        lowest = torch.where(top_k < vocab, kth, lowest)
    if any_top_p:
        kept = torch.where(weights >= lowest[:, None], weights, 0.0) if largest_k else weights
        wanted = top_p.double() * kept.sum(-1, dtype=torch.float64)
        last, reached = _nucleus_end(candidates, wanted)
        wide = (~reached & (top_p < 1)).nonzero().squeeze(1)
        if len(wide):
            last[wide], _ = _nucleus_end(kept[wide].sort(descending=True).values, wanted[wide])
        lowest = torch.where(top_p < 1, torch.maximum(lowest, last), lowest)
    return torch.maximum(lowest, min_p)


def _nucleus_end(descending: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """(rows,) the weight at which the running sum of each row reaches `wanted`, and whether it does."""
    sums = descending.cumsum(-1, dtype=torch.float64)
    index = torch.searchsorted(sums, wanted[:, None]).squeeze(1)  # the first sum ≥ wanted
    width = descending.shape[1]
    return descending.gather(1, index.clamp(max=width - 1)[:, None]).squeeze(1), index < width
