"""The head's matrix product, with fp32 results whatever the weights' dtype: the library's own on a GPU."""

import torch
import torch.nn.functional as F
from torch import Tensor

from pagelet_engine.kernels.reference import head_logits as reference


def head_logits(x: Tensor, weight: Tensor) -> Tensor:
    """x (rows, hidden), weight (vocab, hidden), both of one dtype → logits (rows, vocab) fp32, summed in fp32.

    Only GPUs have a product of half-precision matrices with fp32 results (bf16 and fp16; an fp32 one is what it is).
    """
    if not x.is_cuda:
        return reference.head_logits(x, weight)
    if weight.dtype == torch.float32:
        return F.linear(x, weight)
    return torch.mm(x, weight.t(), out_dtype=torch.float32)
