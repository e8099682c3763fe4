"""The head's matrix product, with fp32 results whatever the weights' dtype."""

import torch
import torch.nn.functional as F
from torch import Tensor

_CHUNK_BYTES = 2 << 20  # of widened weights: they stay in a core's cache and the model is never held twice


def head_logits(x: Tensor, weight: Tensor) -> Tensor:
    """x (rows, hidden), weight (vocab, hidden) → logits (rows, vocab) fp32, products and sums in fp32.

    Half-precision results would make ties of near-ties: between 16 and 32 a bf16 logit moves in steps of 1/8.
    """
    if weight.dtype == torch.float32:
        return F.linear(x, weight)
    vocab, hidden = weight.shape
    logits = torch.empty(len(x), vocab, dtype=torch.float32, device=x.device)
    chunk_rows = max(1, _CHUNK_BYTES // (4 * hidden))
    wide = x.float()
    for first in range(0, vocab, chunk_rows):
        chunk = slice(first, first + chunk_rows)
        torch.mm(wide, weight[chunk].float().t(), out=logits[:, chunk])
    return logits
