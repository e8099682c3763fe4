"""Root-mean-square norm. Its weight is fp32 in every model: it is small, and the op wants it so."""

import torch
from torch import Tensor, nn

from pagelet_engine.layers.backend import Backend
from pagelet_engine.weights.destination import Destination, TensorRows


class Norm(nn.Module):
    def __init__(self, hidden: int, eps: float, backend: Backend) -> None:
        super().__init__()
        self.eps, self.backend = eps, backend
        weight = torch.empty(hidden, dtype=torch.float32, device=backend.device)
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """(tokens, hidden) → the same."""
        return self.backend.rms_norm(x, self.weight, self.eps)

    def load(self, name: str) -> dict[str, Destination]:
        return {f"{name}.weight": TensorRows(self.weight.data)}
