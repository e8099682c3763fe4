"""Qwen3-MoE: Qwen3, with a mixture of experts in the place of most MLPs; which, the shape says."""

from collections.abc import Mapping
from typing import Any

from pagelet_api.sizes import ModelConfigError, ModelShape

from pagelet_engine.layers.attention import cache_layers
from pagelet_engine.layers.backend import Backend, CacheLayer, Routing
from pagelet_engine.layers.experts import ExpertNames, Experts
from pagelet_engine.layers.norm import Norm
from pagelet_engine.layers.rotary import RopeSettings, Rotary
from pagelet_engine.models.config_fields import positive, require
from pagelet_engine.models.decoder import Decoder, PreNormBlock
from pagelet_engine.models.llama import LlamaBlock
from pagelet_engine.weights.destination import Destination


class Qwen3MoeBlock(PreNormBlock):
    mlp: Experts

    def __init__(self, shape: ModelShape, cache: CacheLayer, eps: float, routing: Routing, backend: Backend) -> None:
        experts = Experts(shape.hidden_size, shape.expert_intermediate_size, shape.num_experts, routing, backend)
        super().__init__(shape, cache, eps, experts, backend)

    def load(self, name: str) -> dict[str, Destination]:
        experts = [f"{name}.mlp.experts.{expert}" for expert in range(len(self.mlp.router))]
        names = [ExpertNames(f"{each}.gate_proj", f"{each}.up_proj", f"{each}.down_proj") for each in experts]
        return {**super().load(name), **self.mlp.load(f"{name}.mlp.gate", names)}


def qwen3_moe(shape: ModelShape, config: Mapping[str, Any], backend: Backend) -> Decoder:
    """Raises ModelConfigError for a variant we do not compute. Parameters are uninitialised."""
    require(config, "hidden_act", "silu")
    eps = positive(config, "rms_norm_eps", 1e-6)
    rotary = Rotary(shape.head_dim, RopeSettings.from_config(config), backend)
    routing = Routing(shape.experts_per_token, _renormalises(config))

    def block(layer: int, cache: CacheLayer) -> PreNormBlock:
        if layer in shape.expert_layers:
            return Qwen3MoeBlock(shape, cache, eps, routing, backend)
        return LlamaBlock(shape, cache, eps, backend)

    blocks = [(block(layer, cache), rotary) for layer, cache in enumerate(cache_layers(shape, backend.ranks))]
    return Decoder(shape, blocks, Norm(shape.hidden_size, eps, backend), backend)


def _renormalises(config: Mapping[str, Any]) -> bool:
    if not isinstance(found := config.get("norm_topk_prob", False), bool):
        raise ModelConfigError(f"config.json: norm_topk_prob: wanted true or false, found {found!r}")
    return found
