"""Which class computes which architecture."""

from collections.abc import Mapping
from typing import Any, Protocol

from pagelet_api.sizes import ModelConfigError, ModelShape
from torch import Tensor

from pagelet_engine.layers.backend import Backend
from pagelet_engine.layers.batch import Batch
from pagelet_engine.models.llama import Llama
from pagelet_engine.weights.destination import Destination


class Model(Protocol):
    """What the worker and the loader need of an architecture."""

    def __call__(self, batch: Batch) -> Tensor: ...

    def logits(self, x: Tensor) -> Tensor: ...

    def load(self) -> Mapping[str, Destination]: ...

    @property
    def ignored(self) -> tuple[str, ...]: ...


ARCHITECTURES = {
    "LlamaForCausalLM": Llama,
}
"""A name of config.json's `architectures` → its class."""


def build_model(shape: ModelShape, config: Mapping[str, Any], backend: Backend) -> Model:
    """The model with uninitialised parameters. Raises ModelConfigError for what we cannot compute."""
    if (name := shape.architecture) not in ARCHITECTURES:
        raise ModelConfigError(
            f"config.json: architecture {name} is not supported; supported are: {', '.join(ARCHITECTURES)}"
        )
    if (quantization := config.get("quantization_config")) is not None:
        raise ModelConfigError(
            f"config.json: quantization_config: wanted an unquantised checkpoint, found {quantization!r:.80}"
        )
    return ARCHITECTURES[shape.architecture](shape, config, backend)
