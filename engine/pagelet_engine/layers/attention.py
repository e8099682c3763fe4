"""Attention of one layer: rotate, write the cache, attend."""

from torch import Tensor, nn

from pagelet_engine.layers.backend import Backend, CacheLayer
from pagelet_engine.layers.batch import Batch


class Attention(nn.Module):
    def __init__(self, cache: CacheLayer, backend: Backend) -> None:
        super().__init__()
        self.cache, self.backend = cache, backend
        self.scale = cache.head_dim**-0.5

    def forward(self, qkv: Tensor, rotary: Tensor, batch: Batch) -> Tensor:
        """qkv (tokens, heads + 2 × kv_heads, head_dim), rotary of the step → (tokens, heads × head_dim)."""
        return self.backend.attention(qkv, rotary, batch, self.cache, self.scale)
