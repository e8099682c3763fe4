"""The reference backend: every op in a few lines of torch, on any device."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pagelet_engine.kernels.reference import embedding, head_logits, linear, rms_norm, rope_kv_write, silu_mul
from pagelet_engine.kernels.reference import paged_attention as attention
from pagelet_engine.layers.backend import CacheLayer
from pagelet_engine.layers.batch import Batch
from pagelet_engine.weights.destination import Destination, TensorRows


@dataclass(frozen=True, slots=True)
class GroupBatch:
    """What one step means for the layers of one KV group."""

    kv_rows: tuple[Tensor, ...]
    """One a layer of the group: (rows, 2, kv_heads, head_dim), the pool seen from that layer's first row."""
    slot_mapping: Tensor
    """(tokens,) int64: the row into which each token's key and value go."""
    plan: attention.AttentionPlan


@dataclass(frozen=True, slots=True)
class ReferenceBatch(Batch):
    token_ids: Tensor
    """(tokens,) int64, sequence after sequence."""
    positions: Tensor
    """(tokens,) int64: each token's place in its own sequence."""
    adapter_slots: Tensor
    """(tokens,) int64: the adapter of each token; 0: none."""
    groups: tuple[GroupBatch, ...]


@dataclass(frozen=True, slots=True)
class Plain:
    """Weights as numbers of one dtype."""

    dtype: torch.dtype
    device: torch.device

    def declare(
        self, layer: nn.Module, out_features: int, in_features: int, bias: bool, is_gated: bool = False
    ) -> None:
        layer.register_parameter("weight", self._parameter(out_features, in_features))
        layer.register_parameter("bias", self._parameter(out_features) if bias else None)
        layer.is_gated = is_gated  # type: ignore[assignment]  # nn.Module takes plain attributes too

    def load(self, layer: nn.Module, name: str, rows: slice) -> Mapping[str, Destination]:
        parts = {f"{name}.{part}": parameter for part, parameter in layer.named_parameters(recurse=False)}
        return {part: TensorRows(parameter.data[rows]) for part, parameter in parts.items()}

    def apply(self, layer: nn.Module, x: Tensor, residual: Tensor | None = None) -> Tensor:
        weight, bias = layer.weight, layer.bias
        assert isinstance(weight, Tensor)
        assert bias is None or isinstance(bias, Tensor)
        product = linear.linear(x, weight, bias, residual)
        return silu_mul.silu_mul(product) if layer.is_gated else product

    def _parameter(self, *shape: int) -> nn.Parameter:
        return nn.Parameter(torch.empty(shape, dtype=self.dtype, device=self.device), requires_grad=False)


class ReferenceBackend:
    """Implements `backend.Backend`."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype, self.device = dtype, device
        self.linears = self.tables = Plain(dtype, device)

    def embedding(self, table: nn.Module, batch: Batch) -> Tensor:
        return embedding.embedding(_own(batch).token_ids, _weight(table))

    def head_logits(self, table: nn.Module, x: Tensor) -> Tensor:
        return head_logits.head_logits(x, _weight(table))

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        return rms_norm.rms_norm(x, weight, eps)

    def rotary(self, inverse_frequencies: Tensor, batch: Batch) -> Tensor:
        """→ (tokens, 2, head_dim) fp32: cos|cos, then -sin|sin, as rope_kv_write wants them."""
        positions = _own(batch).positions
        angles = positions[:, None].float() * inverse_frequencies
        cos, sin = angles.cos(), angles.sin()
        return torch.cat((cos, cos, -sin, sin), dim=1).view(len(positions), 2, -1)

    def attention(self, qkv: Tensor, rotary: Tensor, batch: Batch, cache: CacheLayer, scale: float) -> Tensor:
        group = _own(batch).groups[cache.group]
        kv_rows = group.kv_rows[cache.layer]
        query = rope_kv_write.rope_kv_write(qkv, rotary, kv_rows, group.slot_mapping, cache.num_kv_heads)
        return attention.paged_attention(query, kv_rows, group.plan, scale).view(len(qkv), -1)


def _own(batch: Batch) -> ReferenceBatch:
    assert isinstance(batch, ReferenceBatch), f"a batch of another backend: {type(batch)}"
    return batch


def _weight(table: nn.Module) -> Tensor:
    assert isinstance(table.weight, Tensor)
    return table.weight
