"""The Triton backend, for NVIDIA and AMD GPUs: our kernels where the cache and the small ops are, the vendor's library
for products of matrices. Nothing here waits for the device, so that a step can be captured in a graph."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from pagelet_engine.kernels.triton import (
    embedding,
    experts,
    gated_activation,
    head_logits,
    paged_attention,
    rms_norm,
    rope_kv_write,
    rotary,
)
from pagelet_engine.kernels.triton.attention_tiles import choose_splits
from pagelet_engine.layers.backend import (
    AttentionSettings,
    CacheLayer,
    ExpertWeights,
    Routing,
    WeightFormat,
)
from pagelet_engine.layers.batch import Batch
from pagelet_engine.layers.plain import Plain, held
from pagelet_engine.layers.ranks import OneRank, Ranks


@dataclass(frozen=True, slots=True)
class TritonGroup:
    """The cache of one KV group, the same in every step."""

    pages: Tensor
    """(blocks, layers, block_size, 2, kv_heads, head_dim)"""
    scales: Tensor | None
    """(blocks, layers, block_size, 2, kv_heads) fp32 beside an fp8 cache."""
    block_table: Tensor
    """(slots, max_blocks) int32"""


@dataclass(frozen=True, slots=True)
class TritonBatch(Batch):
    """One step, int32 on the device. Padded tokens have slot -1; padded sequences have no tokens."""

    token_ids: Tensor
    """(tokens,) sequence after sequence."""
    positions: Tensor
    """(tokens,)"""
    token_slots: Tensor
    """(tokens,) rows of the block tables."""
    cu_query_lens: Tensor
    """(seqs + 1,)"""
    seq_lens: Tensor
    """(seqs,) tokens in the cache after this step."""
    seq_slots: Tensor
    """(seqs,)"""
    adapter_slots: Tensor
    """(seqs,) 0: no adapter."""
    groups: tuple[TritonGroup, ...]
    num_decodes: int
    """Leading sequences, of one token each; padded ones are among them in a graph."""
    chunk_cu_query_lens: Tensor
    """(seqs - num_decodes + 1,) those of the others, counted from their first token."""
    longest_query: int
    longest_context: int
    """Bounds of any sequence's, which the host knows."""


class TritonBackend:
    """Implements `backend.Backend`. num_sms: multiprocessors (AMD: compute units) of the device."""

    def __init__(
        self,
        dtype: torch.dtype,
        device: torch.device,
        num_sms: int,
        ranks: Ranks | None = None,
        linears: WeightFormat | None = None,
    ) -> None:
        """linears: None is as numbers of dtype."""
        self.dtype, self.device = dtype, device
        self.ranks: Ranks = OneRank() if ranks is None else ranks
        self.tables = Plain(dtype, device, gated_activation.gated_activation)
        self.linears: WeightFormat = self.tables if linears is None else linears
        self._num_sms = num_sms

    def embedding(self, table: nn.Module, batch: Batch, first_token: int | None = None, scale: float = 1.0) -> Tensor:
        weight, _, _ = held(table)
        return embedding.embedding(_own(batch).token_ids, weight, first_token or 0, scale)

    def head_logits(self, table: nn.Module, x: Tensor) -> Tensor:
        weight, _, _ = held(table)
        return head_logits.head_logits(x, weight)

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        return rms_norm.rms_norm(x, weight, eps)

    def add_rms_norm(self, x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        return rms_norm.rms_norm(x, weight, eps, residual)

    def rotary(self, inverse_frequencies: Tensor, batch: Batch) -> Tensor:
        """→ (tokens, 2, head_dim / 2) fp32: cosines, then sines."""
        return rotary.rotary(_own(batch).positions, inverse_frequencies)

    def attention(
        self, qkv: Tensor, rotary: Tensor, batch: Batch, cache: CacheLayer, settings: AttentionSettings
    ) -> Tensor:
        own = _own(batch)
        group = own.groups[cache.group]
        kv = group.pages[:, cache.layer]
        kv_scales = None if group.scales is None else group.scales[:, cache.layer]
        rope_kv_write.rope_kv_write(
            qkv,
            rotary,
            own.positions,
            own.token_slots,
            group.block_table,
            kv,
            kv_scales,
            settings.q_norm,
            settings.k_norm,
            settings.norm_eps,
        )
        attended = qkv.new_empty(len(qkv), cache.num_heads, cache.head_dim)
        attend = partial(
            paged_attention.paged_attention,
            kv=kv,
            block_tables=group.block_table,
            scale=settings.scale,
            window=cache.window,
            soft_cap=settings.soft_cap,
            kv_scales=kv_scales,
        )
        query, decodes = qkv[:, : cache.num_heads], own.num_decodes
        # Two launches, because decodes and prompts want other tiles; and decodes of long contexts, to be split.
        if decodes:
            context = min(own.longest_context, cache.window or own.longest_context)
            attend(
                query[:decodes],
                cu_query_lens=own.cu_query_lens[: decodes + 1],
                seq_lens=own.seq_lens[:decodes],
                seq_slots=own.seq_slots[:decodes],
                max_query_len=1,
                num_splits=choose_splits(decodes, cache.num_kv_heads, context, self._num_sms),
                out=attended[:decodes],
            )
        if decodes < len(own.seq_lens):
            attend(
                query[decodes:],
                cu_query_lens=own.chunk_cu_query_lens,
                seq_lens=own.seq_lens[decodes:],
                seq_slots=own.seq_slots[decodes:],
                max_query_len=own.longest_query,
                out=attended[decodes:],
            )
        return attended.view(len(qkv), -1)

    def experts(self, x: Tensor, weights: ExpertWeights, routing: Routing) -> Tensor:
        router_logits = head_logits.head_logits(x, weights.router)
        ids, shares = experts.route(router_logits, routing.experts_per_token, routing.renormalise)
        return experts.experts(x, weights.gate_up, weights.down, ids, shares, routing.activation)


def _own(batch: Batch) -> TritonBatch:
    assert isinstance(batch, TritonBatch), f"a batch of another backend: {type(batch)}"
    return batch
