"""Mixtral: Mistral, with experts in the place of every MLP. The weights of a token's experts sum to one."""

from collections.abc import Mapping
from typing import Any

from pagelet_api.sizes import ModelShape

from pagelet_engine.layers.attention import cache_layers
from pagelet_engine.layers.backend import Backend, CacheLayer, Routing
from pagelet_engine.layers.experts import ExpertNames, Experts
from pagelet_engine.layers.norm import Norm
from pagelet_engine.layers.rotary import RopeSettings, Rotary
from pagelet_engine.models.config_fields import positive, require
from pagelet_engine.models.decoder import Decoder, PreNormBlock
from pagelet_engine.weights.destination import Destination


class MixtralBlock(PreNormBlock):
    mlp: Experts

    def __init__(self, shape: ModelShape, cache: CacheLayer, eps: float, backend: Backend) -> None:
        routing = Routing(shape.experts_per_token, renormalise=True)
        experts = Experts(shape.hidden_size, shape.expert_intermediate_size, shape.num_experts, routing, backend)
        super().__init__(shape, cache, eps, experts, backend)

    def load(self, name: str) -> dict[str, Destination]:
        mixture = f"{name}.block_sparse_moe"
        experts = [f"{mixture}.experts.{expert}" for expert in range(len(self.mlp.router))]
        names = [ExpertNames(gate=f"{each}.w1", up=f"{each}.w3", down=f"{each}.w2") for each in experts]
        return {**super().load(name), **self.mlp.load(f"{mixture}.gate", names)}


def mixtral(shape: ModelShape, config: Mapping[str, Any], backend: Backend) -> Decoder:
    """Raises ModelConfigError for a variant we do not compute. Parameters are uninitialised."""
    require(config, "hidden_act", "silu")
    eps = positive(config, "rms_norm_eps", 1e-5)
    rotary = Rotary(shape.head_dim, RopeSettings.from_config(config, default_theta=1e6), backend)
    blocks = [(MixtralBlock(shape, cache, eps, backend), rotary) for cache in cache_layers(shape, backend.ranks)]
    return Decoder(shape, blocks, Norm(shape.hidden_size, eps, backend), backend)
