"""Attention of one layer: normalise and rotate, write the cache, attend."""

from pagelet_api.sizes import ModelShape, kv_groups
from torch import Tensor, nn

from pagelet_engine.layers.backend import AttentionSettings, Backend, CacheLayer
from pagelet_engine.layers.batch import Batch
from pagelet_engine.layers.norm import Norm
from pagelet_engine.layers.ranks import Ranks


class Attention(nn.Module):
    def __init__(
        self,
        cache: CacheLayer,
        backend: Backend,
        *,
        scale: float | None = None,
        soft_cap: float = 0.0,
        q_norm: Norm | None = None,
        k_norm: Norm | None = None,
    ) -> None:
        """scale: None is 1 / √head_dim. q_norm, k_norm: of each head; the layer that owns them loads them."""
        super().__init__()
        self.cache, self.backend = cache, backend
        self.settings = AttentionSettings(
            scale=cache.head_dim**-0.5 if scale is None else scale,
            soft_cap=soft_cap,
            q_norm=None if q_norm is None else q_norm.weight,
            k_norm=None if k_norm is None else k_norm.weight,
            norm_eps=0.0 if q_norm is None else q_norm.eps,
        )

    def forward(self, qkv: Tensor, rotary: Tensor, batch: Batch) -> Tensor:
        """qkv (tokens, heads + 2 × kv_heads, head_dim), rotary of the step → (tokens, heads × head_dim)."""
        return self.backend.attention(qkv, rotary, batch, self.cache, self.settings)


def cache_layers(shape: ModelShape, ranks: Ranks) -> tuple[CacheLayer, ...]:
    """Of each layer of the model, its place in the cache and this rank's heads."""
    places = {
        layer: CacheLayer(
            number, place, shape.num_heads // ranks.size, group.num_kv_heads, group.head_dim, group.window
        )
        for number, group in enumerate(kv_groups(shape, ranks.size))
        for place, layer in enumerate(group.layers)
    }
    return tuple(places[layer] for layer in range(shape.num_layers))
