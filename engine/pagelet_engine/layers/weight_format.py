"""How a linear layer's weights are declared, loaded and applied. Quantised formats join here, not in a model file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from pagelet_engine.kernels.reference.linear import linear
from pagelet_engine.weights.destination import Destination


class WeightFormat(Protocol):
    @property
    def dtype(self) -> torch.dtype:
        """Of activations, and of everything that is not a linear layer's weight."""
        ...

    @property
    def device(self) -> torch.device: ...

    def declare(self, layer: nn.Module, out_features: int, in_features: int, bias: bool) -> None:
        """Give `layer` the parameters it needs, uninitialised."""
        ...

    def load(self, layer: nn.Module, name: str, rows: slice) -> Mapping[str, Destination]:
        """Where the tensors of the checkpoint's linear layer `name` go: into these output rows of `layer`."""
        ...

    def apply(self, layer: nn.Module, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """x (tokens, in) → (tokens, out), + bias, + residual (tokens, out)."""
        ...


@dataclass(frozen=True, slots=True)
class Plain:
    """Weights as numbers of one dtype."""

    dtype: torch.dtype
    device: torch.device

    def declare(self, layer: nn.Module, out_features: int, in_features: int, bias: bool) -> None:
        layer.register_parameter("weight", self._parameter(out_features, in_features))
        layer.register_parameter("bias", self._parameter(out_features) if bias else None)

    def load(self, layer: nn.Module, name: str, rows: slice) -> Mapping[str, Destination]:
        parts = {f"{name}.{part}": parameter for part, parameter in layer.named_parameters(recurse=False)}
        return {part: Destination(parameter.data[rows]) for part, parameter in parts.items()}

    def apply(self, layer: nn.Module, x: Tensor, residual: Tensor | None = None) -> Tensor:
        weight, bias = layer.weight, layer.bias
        assert isinstance(weight, Tensor)
        assert bias is None or isinstance(bias, Tensor)
        return linear(x, weight, bias, residual)

    def _parameter(self, *shape: int) -> nn.Parameter:
        return nn.Parameter(torch.empty(shape, dtype=self.dtype, device=self.device), requires_grad=False)
