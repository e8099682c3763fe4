"""What layers ask of the backend that computes them: their weights' formats, and the ops under one name each.

A backend chooses which ops are fused. Three stand beside this file: `reference`, a few lines of torch an op, `triton`
for GPUs, and `cpu`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from pagelet_engine.kernels.activation import Activation
from pagelet_engine.layers.batch import Batch
from pagelet_engine.layers.ranks import Ranks
from pagelet_engine.layers.stream import AddNorm
from pagelet_engine.weights.destination import Destination, Part

__all__ = ["Activation", "AttentionSettings", "Backend", "CacheLayer", "ExpertWeights", "Routing", "WeightFormat"]


class WeightFormat(Protocol):
    """How a product's weights are declared, loaded and applied. Quantised formats join here, not in a model file.

    It knows the rank's share alone: features that other ranks compute are not declared.
    """

    def declare(
        self, layer: nn.Module, out_features: int, in_features: int, bias: bool, gate: Activation | None = None
    ) -> None:
        """Give `layer` the parameters it needs, uninitialised. gate: the outputs are two halves, gate and up."""
        ...

    def load(self, layer: nn.Module, name: str, rows: slice, part: Part) -> Mapping[str, Destination]:
        """Where the tensors of the checkpoint's layer `name` go: that part of its matrix into these output rows of
        `layer`, all columns of them."""
        ...

    def apply(self, layer: nn.Module, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """x (tokens, in) → (tokens, out), a new tensor, + bias, + residual (tokens, out); of a gated layer
        activation(gate) · up (tokens, out / 2)."""
        ...


@dataclass(frozen=True, slots=True)
class CacheLayer:
    """One layer's place in the KV cache, and this rank's heads of it."""

    group: int
    """KV group."""
    layer: int
    """Number in the group."""
    num_heads: int
    num_kv_heads: int
    head_dim: int
    window: int | None = None
    """Tokens a query looks at, itself included; None: all before it."""


@dataclass(frozen=True, slots=True, eq=False)
class AttentionSettings:
    """What attention computes, beside the shapes."""

    scale: float
    """Of the scores, before the cap."""
    soft_cap: float = 0.0
    """Scores become cap · tanh(score / cap); 0: they stay as they are."""
    q_norm: Tensor | None = None
    """(head_dim,) fp32: weight of the root-mean-square norm of each query head, before it is rotated; None: there is
    none."""
    k_norm: Tensor | None = None
    """The same for keys; there are both or neither."""
    norm_eps: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class ExpertWeights:
    """Of one layer's experts; `inner` is this rank's share of each expert."""

    router: Tensor
    """(experts, hidden)."""
    gate_up: Tensor
    """(experts, 2 × inner, hidden): gate, then up."""
    down: Tensor
    """(experts, hidden, inner)."""


@dataclass(frozen=True, slots=True)
class Routing:
    """Which experts a token goes to, and how what they say is weighed."""

    experts_per_token: int
    renormalise: bool
    """The weights of a token's experts sum to one; else they are the router's probabilities among all experts."""
    activation: Activation = Activation.SILU


class Backend(Protocol):
    @property
    def dtype(self) -> torch.dtype:
        """Of activations and KV cache."""
        ...

    @property
    def device(self) -> torch.device: ...

    @property
    def ranks(self) -> Ranks:
        """With whom layers share the work: they bring the results together, never the ops below."""
        ...

    @property
    def linears(self) -> WeightFormat:
        """Of the linear layers inside a model's blocks."""
        ...

    @property
    def tables(self) -> WeightFormat:
        """Of the matrices that know the vocabulary."""
        ...

    def embedding(self, table: nn.Module, batch: Batch, first_token: int | None = None, scale: float = 1.0) -> Tensor:
        """→ (tokens, hidden): the table's rows, by token, times scale, rounded to dtype. first_token: that of its first
        row, where tokens without a row become zeros; None: every token has one."""
        ...

    def head_logits(self, table: nn.Module, x: Tensor) -> Tensor:
        """x (rows, hidden) → (rows, the table's rows) fp32."""
        ...

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """x (tokens, hidden), weight (hidden,) fp32 → x / sqrt(mean(x²) + eps) · weight."""
        ...

    @property
    def add_rms_norm(self) -> AddNorm | None:
        """rms_norm of x + residual, and that sum, by one op. None: the op that makes a product adds the residual."""
        ...

    def rotary(self, inverse_frequencies: Tensor, batch: Batch) -> Tensor:
        """inverse_frequencies (head_dim / 2,) fp32 → cosines and sines of the tokens' positions, as `attention` wants
        them."""
        ...

    def attention(
        self, qkv: Tensor, rotary: Tensor, batch: Batch, cache: CacheLayer, settings: AttentionSettings
    ) -> Tensor:
        """Normalise queries and keys if so set, rotate them, write keys and values, attend: qkv (tokens, heads + 2 ×
        kv_heads, head_dim), which may be overwritten → (tokens, heads × head_dim)."""
        ...

    def experts(self, x: Tensor, weights: ExpertWeights, routing: Routing) -> Tensor:
        """x (tokens, hidden) → (tokens, hidden), a new tensor: Σ over the token's experts of weight · down(activation(
        gate(x)) · up(x)), routed by softmax(x · routerᵀ) in fp32; of this rank's share of `inner`."""
        ...
