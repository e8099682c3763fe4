"""A mixture of experts in the place of an MLP: a router, and stacked weights of which each token uses some.

Experts are spread over ranks as an MLP is: every rank holds a share of each expert's inner features, and the router.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pagelet_engine.layers.backend import Backend, ExpertWeights, Routing
from pagelet_engine.layers.ranks import share
from pagelet_engine.layers.stream import Stream, joined
from pagelet_engine.weights.destination import Destination, Part, TensorPart


class ExpertNames(NamedTuple):
    """Of one expert's three layers in a checkpoint."""

    gate: str
    up: str
    down: str


class Experts(nn.Module):
    def __init__(self, hidden: int, inner: int, num_experts: int, routing: Routing, backend: Backend) -> None:
        """inner: of one expert."""
        super().__init__()
        self.hidden, self.inner, self.routing, self.backend = hidden, inner, routing, backend
        self.share = share(backend.ranks, inner)
        self.held = self.share.stop - self.share.start
        self.router = self._parameter(num_experts, hidden)
        self.gate_up = self._parameter(num_experts, 2 * self.held, hidden)
        self.down = self._parameter(num_experts, hidden, self.held)

    def forward(self, x: Tensor, residual: Stream) -> Stream:
        """x, residual (tokens, hidden) → (tokens, hidden)."""
        weights = ExpertWeights(self.router, self.gate_up, self.down)
        product = self.backend.experts(x, weights, self.routing)
        return joined(self.backend.ranks.all_reduce(product), residual, self.backend.add_rms_norm)

    def load(self, router: str, experts: Sequence[ExpertNames]) -> dict[str, Destination]:
        rows = Part((self.inner, self.hidden), rows=self.share)
        columns = Part((self.hidden, self.inner), columns=self.share)
        destinations: dict[str, Destination] = {f"{router}.weight": TensorPart.whole(self.router.data)}
        for names, gate_up, down in zip(experts, self.gate_up.data, self.down.data, strict=True):
            destinations[f"{names.gate}.weight"] = TensorPart(gate_up[: self.held], rows)
            destinations[f"{names.up}.weight"] = TensorPart(gate_up[self.held :], rows)
            destinations[f"{names.down}.weight"] = TensorPart(down, columns)
        return destinations

    def _parameter(self, *shape: int) -> nn.Parameter:
        weight = torch.empty(shape, dtype=self.backend.dtype, device=self.backend.device)
        return nn.Parameter(weight, requires_grad=False)
