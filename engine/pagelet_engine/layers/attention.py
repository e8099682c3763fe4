"""Attention of one layer: rotate, write the cache, attend."""

from torch import Tensor, nn

from pagelet_engine.kernels.reference.paged_attention import paged_attention
from pagelet_engine.kernels.reference.rope_kv_write import rope_kv_write
from pagelet_engine.layers.batch import Batch


class Attention(nn.Module):
    """Layer number `layer` of KV group number `group`."""

    def __init__(self, group: int, layer: int, num_kv_heads: int, head_dim: int) -> None:
        super().__init__()
        self.group, self.layer, self.num_kv_heads = group, layer, num_kv_heads
        self.scale = head_dim**-0.5

    def forward(self, qkv: Tensor, rotary: Tensor, batch: Batch) -> Tensor:
        """qkv (tokens, heads + 2 × kv_heads, head_dim), rotary (tokens, 2, head_dim) → (tokens, heads × head_dim)."""
        group = batch.groups[self.group]
        kv_rows = group.kv_rows[self.layer]
        query = rope_kv_write(qkv, rotary, kv_rows, group.slot_mapping, self.num_kv_heads)
        return paged_attention(query, kv_rows, group.plan, self.scale).view(len(qkv), -1)
