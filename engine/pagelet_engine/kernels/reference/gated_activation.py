"""The gate of a gated MLP."""

import torch.nn.functional as F
from torch import Tensor

from pagelet_engine.kernels.activation import Activation


def gated_activation(gate_up: Tensor, activation: Activation) -> Tensor:
    """activation(gate) · up, where gate_up (tokens, 2 × inner) holds gate, then up → (tokens, inner)."""
    gate, up = gate_up.chunk(2, dim=-1)
    match activation:
        case Activation.SILU:
            return F.silu(gate).mul_(up)
        case Activation.GELU_TANH:
            return F.gelu(gate, approximate="tanh").mul_(up)
