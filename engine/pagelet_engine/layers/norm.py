"""Root-mean-square norm. Its weight is fp32 in every model: it is small, and the op wants it so."""

import torch
from torch import Tensor, nn

from pagelet_engine.layers.backend import Backend
from pagelet_engine.layers.stream import Stream, Sum
from pagelet_engine.weights.destination import Destination, TensorPart


class Norm(nn.Module):
    def __init__(self, hidden: int, eps: float, backend: Backend, offset: float = 0.0) -> None:
        """offset: what a checkpoint leaves out of the weight, if it stores how far the weight is from that."""
        super().__init__()
        self.eps, self.backend, self.offset = eps, backend, offset
        weight = torch.empty(hidden, dtype=torch.float32, device=backend.device)
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, x: Stream) -> Tensor:
        """(tokens, hidden) → the same."""
        if isinstance(x, Sum):
            assert self.backend.add_rms_norm is not None
            return x.normed(self.backend.add_rms_norm, self.weight, self.eps)
        return self.backend.rms_norm(x, self.weight, self.eps)

    def load(self, name: str) -> dict[str, Destination]:
        return {f"{name}.weight": TensorPart.whole(self.weight.data, self.offset)}
