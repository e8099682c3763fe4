"""Linear layers in FP8 (W8A8): a weight in e4m3 with one scale an output channel, made as it is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from pagelet_api.sizes import ModelConfigError
from torch import Tensor, nn

from pagelet_engine.kernels.activation import Activation
from pagelet_engine.kernels.reference.fp8_linear import FP8_DTYPE
from pagelet_engine.kernels.triton.fp8_linear import fp8_linear, quantize_rows, why_not
from pagelet_engine.kernels.triton.gated_activation import gated_activation
from pagelet_engine.layers.plain import held
from pagelet_engine.weights.destination import Destination, Part, TensorPart


@dataclass(frozen=True, slots=True)
class QuantizedPart:
    """Rows of a weight and their scales, that part of a tensor fills."""

    weight: Tensor
    scales: Tensor
    part: Part

    @property
    def num_bytes(self) -> int:
        return self.weight.nbytes + self.scales.nbytes

    def fill(self, name: str, tensor: Tensor) -> None:
        """Raises WeightsError for another shape."""
        for rows, piece in self.part.pieces(name, tensor):
            quantized, scales = quantize_rows(piece.to(self.weight.device).contiguous())
            self.weight[rows].copy_(quantized)
            self.scales[rows].copy_(scales)


@dataclass(frozen=True, slots=True)
class Fp8:
    """Implements `backend.WeightFormat`. Biases are numbers of `dtype`, the activations'."""

    dtype: torch.dtype
    device: torch.device

    def declare(
        self, layer: nn.Module, out_features: int, in_features: int, bias: bool, gate: Activation | None = None
    ) -> None:
        """Raises ModelConfigError for a layer that this GPU cannot hold so."""
        if reason := why_not(out_features, in_features, self.dtype, self.device):
            raise ModelConfigError(f"quantization: {reason}")

        def buffer(name: str, dtype: torch.dtype, *shape: int) -> None:
            layer.register_buffer(name, torch.empty(shape, dtype=dtype, device=self.device))

        buffer("weight", FP8_DTYPE, out_features, in_features)
        buffer("scales", torch.float32, out_features)
        if bias:
            buffer("bias", self.dtype, out_features)
        else:
            layer.register_buffer("bias", None)
        layer.gate = gate  # type: ignore[assignment]  # nn.Module takes plain attributes too

    def load(self, layer: nn.Module, name: str, rows: slice, part: Part) -> Mapping[str, Destination]:
        weight, scales, bias, _ = _held(layer)
        destinations: dict[str, Destination] = {f"{name}.weight": QuantizedPart(weight[rows], scales[rows], part)}
        if bias is not None:
            destinations[f"{name}.bias"] = TensorPart(bias[rows], part.bias)
        return destinations

    def apply(self, layer: nn.Module, x: Tensor, residual: Tensor | None = None) -> Tensor:
        weight, scales, bias, gate = _held(layer)
        product = fp8_linear(x, weight, scales, bias, residual)
        return product if gate is None else gated_activation(product, gate)


def _held(layer: nn.Module) -> tuple[Tensor, Tensor, Tensor | None, Activation | None]:
    """Weight, scales, bias and gate, as `declare` left them."""
    (weight, bias, gate), scales = held(layer), layer.scales
    assert isinstance(scales, Tensor)
    return weight, scales, bias, gate
