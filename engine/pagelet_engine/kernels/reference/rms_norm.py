"""Root-mean-square normalisation (Zhang & Sennrich 2019)."""

import torch.nn.functional as F
from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """y = x / sqrt(mean(x²) + eps) · weight.

    x (tokens, hidden) in any dtype, weight (hidden,) fp32 → (tokens, hidden) in x's dtype, rounded once at the end.
    """
    return F.rms_norm(x.float(), weight.shape, weight, eps).to(x.dtype)
