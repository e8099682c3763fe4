"""Llama 2 and 3, SmolLM2, and those that differ from them by what their shape says: Mistral looks back through a
window, Qwen2 has biases on queries, keys and values, Qwen3 normalises query and key heads before it rotates them.

Pre-norm blocks, rotary attention with grouped heads, a gated MLP.
"""

from collections.abc import Mapping
from typing import Any

from pagelet_api.sizes import ModelShape

from pagelet_engine.layers.attention import cache_layers
from pagelet_engine.layers.backend import Backend, CacheLayer
from pagelet_engine.layers.linear import GatedMLP
from pagelet_engine.layers.norm import Norm
from pagelet_engine.layers.rotary import RopeSettings, Rotary
from pagelet_engine.models.config_fields import positive, require
from pagelet_engine.models.decoder import Decoder, PreNormBlock
from pagelet_engine.weights.destination import Destination


class LlamaBlock(PreNormBlock):
    mlp: GatedMLP

    def __init__(self, shape: ModelShape, cache: CacheLayer, eps: float, backend: Backend) -> None:
        mlp = GatedMLP(shape.hidden_size, shape.intermediate_size, bias=shape.mlp_bias, backend=backend)
        super().__init__(shape, cache, eps, mlp, backend)

    def load(self, name: str) -> dict[str, Destination]:
        mlp = f"{name}.mlp"
        return {**super().load(name), **self.mlp.load(f"{mlp}.gate_proj", f"{mlp}.up_proj", f"{mlp}.down_proj")}


def llama(shape: ModelShape, config: Mapping[str, Any], backend: Backend) -> Decoder:
    """Raises ModelConfigError for a variant we do not compute. Parameters are uninitialised."""
    require(config, "hidden_act", "silu")
    eps = positive(config, "rms_norm_eps", 1e-6)
    rotary = Rotary(shape.head_dim, RopeSettings.from_config(config), backend)
    blocks = [(LlamaBlock(shape, cache, eps, backend), rotary) for cache in cache_layers(shape, backend.ranks)]
    return Decoder(shape, blocks, Norm(shape.hidden_size, eps, backend), backend)
