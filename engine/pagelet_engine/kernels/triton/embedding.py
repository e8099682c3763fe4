"""Rows of a table, by token, where a rank may hold a part of the table only."""

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024  # numbers a program copies: one load of 16 bytes a thread


def embedding(token_ids: Tensor, weight: Tensor, first_token: int = 0, scale: float = 1.0) -> Tensor:
    """weight[token - first_token] · scale, zeros for a token whose row is not in `weight`: the sum over ranks that hold
    a part each is the embedding.

    A token that is in nobody's part (a padded row may hold anything) gives zeros, and reads nothing. The scale is
    rounded to weight's dtype before it multiplies, and so is the product.

    token_ids (tokens,) int32, weight (rows, hidden), of any row stride → (tokens, hidden) in weight's dtype
    """
    (tokens,), (rows, hidden) = token_ids.shape, weight.shape
    assert weight.stride(1) == 1
    taken = torch.empty((tokens, hidden), dtype=weight.dtype, device=weight.device)
    scale = float(torch.tensor(scale, dtype=weight.dtype))  # on the host
    grid = (tokens, triton.cdiv(hidden, _BLOCK))
    _embedding[grid](
        token_ids,
        weight,
        taken,
        first_token,
        rows,
        scale,
        weight.stride(0),
        HIDDEN=hidden,
        BLOCK=_BLOCK,
        enable_fp_fusion=True,
    )
    return taken


# token_ids is a slice of a packed buffer, whose alignment varies; the rows are a rank's, and all run one binary.
@triton.jit(do_not_specialize=["token_ids", "first_token", "rows"])
def _embedding(token_ids, weight, taken, first_token, rows, scale, stride, HIDDEN: tl.constexpr, BLOCK: tl.constexpr):
    """BLOCK numbers of one token."""
    token = tl.program_id(0).to(tl.int64)
    row = tl.load(token_ids + token).to(tl.int64) - first_token
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    exists = column < HIDDEN
    wanted = tl.where(exists, row, -1)  # no & of blocks with a scalar: the interpreter has none
    is_here = (wanted >= 0) & (wanted < rows)
    numbers = tl.load(weight + row * stride + column, is_here, other=0.0).to(tl.float32)
    tl.store(taken + token * HIDDEN + column, (numbers * scale).to(taken.dtype.element_ty), exists)
