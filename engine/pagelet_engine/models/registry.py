"""What computes which architecture."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from pagelet_api.sizes import ModelConfigError, ModelShape, check_spread
from torch import Tensor

from pagelet_engine.layers.backend import Backend
from pagelet_engine.layers.batch import Batch
from pagelet_engine.models.gemma3 import gemma3
from pagelet_engine.models.llama import llama
from pagelet_engine.models.mixtral import mixtral
from pagelet_engine.models.qwen3_moe import qwen3_moe
from pagelet_engine.weights.destination import Destination


class Model(Protocol):
    """What the worker and the loader need of an architecture."""

    def __call__(self, batch: Batch) -> Tensor: ...

    def logits(self, x: Tensor) -> Tensor: ...

    def load(self) -> Mapping[str, Destination]: ...

    @property
    def ignored(self) -> tuple[str, ...]: ...


ARCHITECTURES: dict[str, Callable[[ModelShape, Mapping[str, Any], Backend], Model]] = {
    "LlamaForCausalLM": llama,
    "MistralForCausalLM": llama,
    "Qwen2ForCausalLM": llama,
    "Qwen3ForCausalLM": llama,
    "MixtralForCausalLM": mixtral,
    "Qwen3MoeForCausalLM": qwen3_moe,
    "Gemma3ForCausalLM": gemma3,
}
"""A name of config.json's `architectures` → what makes the model."""


def build_model(shape: ModelShape, config: Mapping[str, Any], backend: Backend) -> Model:
    """What the backend's rank holds of the model, with uninitialised parameters. Raises ModelConfigError for what we
    cannot compute, and for a model that cannot be spread over so many ranks."""
    if (name := shape.architecture) not in ARCHITECTURES:
        raise ModelConfigError(
            f"config.json: architecture {name} is not supported; supported are: {', '.join(ARCHITECTURES)}"
        )
    if (quantization := config.get("quantization_config")) is not None:
        raise ModelConfigError(
            f"config.json: quantization_config: wanted an unquantised checkpoint, found {quantization!r:.80}"
        )
    check_spread(shape, backend.ranks.size)
    return ARCHITECTURES[shape.architecture](shape, config, backend)
