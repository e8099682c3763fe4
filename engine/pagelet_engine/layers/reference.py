"""The reference backend: every op in a few lines of torch, on any device."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pagelet_engine.kernels.reference import (
    embedding,
    experts,
    gated_activation,
    head_logits,
    rms_norm,
    rope_kv_write,
)
from pagelet_engine.kernels.reference import paged_attention as attention
from pagelet_engine.layers.backend import AttentionSettings, CacheLayer, ExpertWeights, Routing
from pagelet_engine.layers.batch import Batch
from pagelet_engine.layers.plain import Plain, held
from pagelet_engine.layers.ranks import OneRank, Ranks


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


class ReferenceBackend:
    """Implements `backend.Backend`."""

    add_rms_norm = None

    def __init__(self, dtype: torch.dtype, device: torch.device, ranks: Ranks | None = None) -> None:
        self.dtype, self.device = dtype, device
        self.ranks: Ranks = OneRank() if ranks is None else ranks
        self.linears = self.tables = Plain(dtype, device, gated_activation.gated_activation)

    def embedding(self, table: nn.Module, batch: Batch, first_token: int | None = None, scale: float = 1.0) -> Tensor:
        return embedding.embedding(_own(batch).token_ids, held(table)[0], first_token, scale)

    def head_logits(self, table: nn.Module, x: Tensor) -> Tensor:
        return head_logits.head_logits(x, held(table)[0])

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        return rms_norm.rms_norm(x, weight, eps)

    def rotary(self, inverse_frequencies: Tensor, batch: Batch) -> Tensor:
        """→ (tokens, 2, head_dim) fp32: cos|cos, then -sin|sin, as rope_kv_write wants them."""
        positions = _own(batch).positions
        angles = positions[:, None].float() * inverse_frequencies
        cos, sin = angles.cos(), angles.sin()
        return torch.cat((cos, cos, -sin, sin), dim=1).view(len(positions), 2, -1)

    def attention(
        self, qkv: Tensor, rotary: Tensor, batch: Batch, cache: CacheLayer, settings: AttentionSettings
    ) -> Tensor:
        group = _own(batch).groups[cache.group]
        kv_rows = group.kv_rows[cache.layer]
        if settings.q_norm is not None and settings.k_norm is not None:
            query, key = qkv[:, : cache.num_heads], qkv[:, cache.num_heads : -cache.num_kv_heads]
            query.copy_(rms_norm.rms_norm(query, settings.q_norm, settings.norm_eps))
            key.copy_(rms_norm.rms_norm(key, settings.k_norm, settings.norm_eps))
        query = rope_kv_write.rope_kv_write(qkv, rotary, kv_rows, group.slot_mapping, cache.num_kv_heads)
        attended = attention.paged_attention(query, kv_rows, group.plan, settings.scale, settings.soft_cap)
        return attended.view(len(qkv), -1)

    def experts(self, x: Tensor, weights: ExpertWeights, routing: Routing) -> Tensor:
        router_logits = head_logits.head_logits(x, weights.router)
        ids, shares = experts.route(router_logits, routing.experts_per_token, routing.renormalise)
        return experts.experts(x, weights.gate_up, weights.down, ids, shares, routing.activation)


def _own(batch: Batch) -> ReferenceBatch:
    assert isinstance(batch, ReferenceBatch), f"a batch of another backend: {type(batch)}"
    return batch
