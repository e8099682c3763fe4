"""What layers ask of the backend that computes them: their weights' formats, and the ops under one name each.

A backend chooses which ops are fused. Two stand beside this file: `reference`, a few lines of torch an op, and `cpu`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from pagelet_engine.layers.batch import Batch
from pagelet_engine.weights.destination import Destination


class WeightFormat(Protocol):
    """How a product's weights are declared, loaded and applied. Quantised formats join here, not in a model file."""

    def declare(
        self, layer: nn.Module, out_features: int, in_features: int, bias: bool, is_gated: bool = False
    ) -> None:
        """Give `layer` the parameters it needs, uninitialised. is_gated: the outputs are two halves, gate and up."""
        ...

    def load(self, layer: nn.Module, name: str, rows: slice) -> Mapping[str, Destination]:
        """Where the tensors of the checkpoint's layer `name` go: into these output rows of `layer`."""
        ...

    def apply(self, layer: nn.Module, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """x (tokens, in) → (tokens, out), + bias, + residual (tokens, out); of a gated layer silu(gate) · up
        (tokens, out / 2)."""
        ...


@dataclass(frozen=True, slots=True)
class CacheLayer:
    """One layer's place in the KV cache, and its heads."""

    group: int
    """KV group."""
    layer: int
    """Number in the group."""
    num_heads: int
    num_kv_heads: int
    head_dim: int


class Backend(Protocol):
    @property
    def dtype(self) -> torch.dtype:
        """Of activations and KV cache."""
        ...

    @property
    def device(self) -> torch.device: ...

    @property
    def linears(self) -> WeightFormat:
        """Of the linear layers inside a model's blocks."""
        ...

    @property
    def tables(self) -> WeightFormat:
        """Of the matrices that know the vocabulary."""
        ...

    def embedding(self, table: nn.Module, batch: Batch) -> Tensor:
        """→ (tokens, hidden): the table's rows, by token."""
        ...

    def head_logits(self, table: nn.Module, x: Tensor) -> Tensor:
        """x (rows, hidden) → (rows, vocab) fp32."""
        ...

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """x (tokens, hidden), weight (hidden,) fp32 → x / sqrt(mean(x²) + eps) · weight."""
        ...

    def rotary(self, inverse_frequencies: Tensor, batch: Batch) -> Tensor:
        """inverse_frequencies (head_dim / 2,) fp32 → cosines and sines of the tokens' positions, as `attention` wants
        them."""
        ...

    def attention(self, qkv: Tensor, rotary: Tensor, batch: Batch, cache: CacheLayer, scale: float) -> Tensor:
        """Rotate queries and keys, write keys and values, attend: qkv (tokens, heads + 2 × kv_heads, head_dim) →
        (tokens, heads × head_dim)."""
        ...
