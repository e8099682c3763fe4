"""Gemma 3, its text model: a norm before and one behind attention and MLP, all weighing by 1 + w; layers that look back
through a window, and between them some that see everything, which rotate by angles of their own.
"""

from collections.abc import Mapping
from typing import Any

from pagelet_api.sizes import ModelConfigError, ModelShape
from torch import Tensor

from pagelet_engine.layers.attention import cache_layers
from pagelet_engine.layers.backend import Activation, Backend, CacheLayer
from pagelet_engine.layers.batch import Batch
from pagelet_engine.layers.linear import GatedMLP
from pagelet_engine.layers.norm import Norm
from pagelet_engine.layers.rotary import RopeSettings, Rotary
from pagelet_engine.models.config_fields import positive, require
from pagelet_engine.models.decoder import Block, Decoder, SelfAttention
from pagelet_engine.weights.destination import Destination


class Gemma3Block(Block):
    def __init__(
        self, shape: ModelShape, cache: CacheLayer, eps: float, scale: float, soft_cap: float, backend: Backend
    ) -> None:
        super().__init__()
        hidden, inner = shape.hidden_size, shape.intermediate_size
        self.before_attention = _norm(hidden, eps, backend)
        self.attention = SelfAttention(
            shape, cache, backend, lambda: _norm(shape.head_dim, eps, backend), scale=scale, soft_cap=soft_cap
        )
        self.behind_attention = _norm(hidden, eps, backend)
        self.before_mlp = _norm(hidden, eps, backend)
        self.mlp = GatedMLP(hidden, inner, bias=False, activation=Activation.GELU_TANH, backend=backend)
        self.behind_mlp = _norm(hidden, eps, backend)

    def forward(self, x: Tensor, rotary: Tensor, batch: Batch) -> Tensor:
        """x (tokens, hidden): the residual stream, before → after."""
        x = x + self.behind_attention(self.attention(self.before_attention(x), rotary, batch))
        after: Tensor = x + self.behind_mlp(self.mlp(self.before_mlp(x)))
        return after

    def load(self, name: str) -> dict[str, Destination]:
        mlp = f"{name}.mlp"
        return {
            **self.before_attention.load(f"{name}.input_layernorm"),
            **self.attention.load(f"{name}.self_attn"),
            **self.behind_attention.load(f"{name}.post_attention_layernorm"),
            **self.before_mlp.load(f"{name}.pre_feedforward_layernorm"),
            **self.mlp.load(f"{mlp}.gate_proj", f"{mlp}.up_proj", f"{mlp}.down_proj"),
            **self.behind_mlp.load(f"{name}.post_feedforward_layernorm"),
        }


def gemma3(shape: ModelShape, config: Mapping[str, Any], backend: Backend) -> Decoder:
    """Raises ModelConfigError for a variant we do not compute. Parameters are uninitialised."""
    require(config, "hidden_activation", "gelu_pytorch_tanh")
    require(config, "use_bidirectional_attention", False)
    eps = positive(config, "rms_norm_eps", 1e-6)
    scale = positive(config, "query_pre_attn_scalar", 256) ** -0.5
    soft_cap = positive(config, "attn_logit_softcapping", 0.0)
    whole, local = (Rotary(shape.head_dim, settings, backend) for settings in _rope(config))
    blocks = [
        (Gemma3Block(shape, cache, eps, scale, soft_cap, backend), whole if cache.window is None else local)
        for cache in cache_layers(shape, backend.ranks)
    ]
    return Decoder(
        shape,
        blocks,
        _norm(shape.hidden_size, eps, backend),
        backend,
        embedding_scale=shape.hidden_size**0.5,
        logits_soft_cap=positive(config, "final_logit_softcapping", 0.0),
    )


def _norm(size: int, eps: float, backend: Backend) -> Norm:
    return Norm(size, eps, backend, offset=1.0)


def _rope(config: Mapping[str, Any]) -> tuple[RopeSettings, RopeSettings]:
    """Of layers that see everything, and of those with a window: apart in transformers 5, and by names of their own in
    transformers 4, where only the former are scaled."""
    kinds = config.get("rope_parameters")
    if kinds is None:
        local = {"rope_theta": config.get("rope_local_base_freq", 1e4)}
        return RopeSettings.from_config(config, default_theta=1e6), RopeSettings.from_config(local)
    if not isinstance(kinds, Mapping):
        raise ModelConfigError(f"config.json: rope_parameters: wanted an object, found {kinds!r}")
    whole, local = ({"rope_parameters": kinds.get(name)} for name in ("full_attention", "sliding_attention"))
    return RopeSettings.from_config(whole, default_theta=1e6), RopeSettings.from_config(local)
