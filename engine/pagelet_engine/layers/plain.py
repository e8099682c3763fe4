"""Weights as numbers of the activations' dtype, multiplied by torch: what the reference and GPUs have in common."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pagelet_engine.kernels.activation import Activation
from pagelet_engine.kernels.reference import linear
from pagelet_engine.weights.destination import Destination, Part, TensorPart


@dataclass(frozen=True, slots=True)
class Plain:
    """Weights as numbers of one dtype."""

    dtype: torch.dtype
    device: torch.device
    gated_activation: Callable[[Tensor, Activation], Tensor]
    """activation(gate) · up, of (tokens, 2 × inner): the backend's op."""

    def declare(
        self, layer: nn.Module, out_features: int, in_features: int, bias: bool, gate: Activation | None = None
    ) -> None:
        layer.register_parameter("weight", self._parameter(out_features, in_features))
        layer.register_parameter("bias", self._parameter(out_features) if bias else None)
        layer.gate = gate  # type: ignore[assignment]  # nn.Module takes plain attributes too

    def load(self, layer: nn.Module, name: str, rows: slice, part: Part) -> Mapping[str, Destination]:
        weight, bias, _ = held(layer)
        destinations: dict[str, Destination] = {f"{name}.weight": TensorPart(weight.data[rows], part)}
        if bias is not None:
            destinations[f"{name}.bias"] = TensorPart(bias.data[rows], part.bias)
        return destinations

    def apply(self, layer: nn.Module, x: Tensor, residual: Tensor | None = None) -> Tensor:
        weight, bias, gate = held(layer)
        product = linear.linear(x, weight, bias, residual)
        return product if gate is None else self.gated_activation(product, gate)

    def _parameter(self, *shape: int) -> nn.Parameter:
        return nn.Parameter(torch.empty(shape, dtype=self.dtype, device=self.device), requires_grad=False)


def held(layer: nn.Module) -> tuple[Tensor, Tensor | None, Activation | None]:
    """Weight, bias and gate, as a format that declares them under these names left them."""
    weight, bias, gate = layer.weight, layer.bias, layer.gate
    assert isinstance(weight, Tensor)
    assert bias is None or isinstance(bias, Tensor)
    assert gate is None or isinstance(gate, Activation)
    return weight, bias, gate
