"""One step as the layers see it: flat tokens and, for each KV group, where they attend. Metadata is an argument."""

from dataclasses import dataclass

from torch import Tensor

from pagelet_engine.kernels.reference.paged_attention import AttentionPlan


@dataclass(frozen=True, slots=True)
class GroupBatch:
    """What one step means for the layers of one KV group."""

    kv_rows: tuple[Tensor, ...]
    """One a layer of the group: (rows, 2, kv_heads, head_dim), the pool seen from that layer's first row."""
    slot_mapping: Tensor
    """(tokens,) int64: the row into which each token's key and value go."""
    plan: AttentionPlan


@dataclass(frozen=True, slots=True)
class Batch:
    token_ids: Tensor
    """(tokens,) int64, sequence after sequence."""
    positions: Tensor
    """(tokens,) int64: each token's place in its own sequence."""
    adapter_slots: Tensor
    """(tokens,) int64: the adapter of each token; 0: none."""
    groups: tuple[GroupBatch, ...]
