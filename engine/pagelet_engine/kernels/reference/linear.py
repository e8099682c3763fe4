"""x·Wᵀ with its epilogue: bias, then the residual stream."""

import torch.nn.functional as F
from torch import Tensor


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, residual: Tensor | None = None) -> Tensor:
    """x (tokens, in), weight (out, in), bias (out,), residual (tokens, out) → (tokens, out) in x's dtype.

    Sums are accumulated in fp32.
    """
    product = F.linear(x, weight, bias)
    return product if residual is None else product.add_(residual)
