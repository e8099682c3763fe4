"""Rows of a table, by token."""

import torch.nn.functional as F
from torch import Tensor


def embedding(token_ids: Tensor, weight: Tensor) -> Tensor:
    """token_ids (tokens,) int64, weight (vocab, hidden) → (tokens, hidden)."""
    return F.embedding(token_ids, weight)
