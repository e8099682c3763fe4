"""Rows of a table, by token."""

import torch.nn.functional as F
from torch import Tensor


def embedding(token_ids: Tensor, weight: Tensor, first_token: int | None = None, scale: float = 1.0) -> Tensor:
    """token_ids (tokens,) int64, weight (rows, hidden) → (tokens, hidden): the tokens' rows, times scale.

    first_token: the table is a part of the vocabulary that begins there, and tokens without a row give zeros; None: it
    is the whole. scale is rounded to the weights' dtype before it multiplies, and so is the product.
    """
    held = None
    if first_token is not None:
        token_ids = token_ids - first_token
        held = (token_ids >= 0) & (token_ids < len(weight))
        token_ids = token_ids.where(held, 0)
    rows = F.embedding(token_ids, weight)
    if scale != 1.0:
        rows = rows * weight.new_tensor(scale)
    return rows if held is None else rows.masked_fill_(~held[:, None], 0)
