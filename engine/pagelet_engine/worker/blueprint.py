"""What is decided before a weight is read: by the model folder's configuration files, and by the engine's."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from pagelet_api import sizes
from pagelet_api.config import EngineConfig
from pagelet_api.memory_plan import DoesNotFitError, resolve_max_model_len
from pagelet_api.model_folder import ModelFolderError, read_object, verify
from pagelet_api.sizes import ModelConfigError, ModelShape

from pagelet_engine.layers.backend import Backend
from pagelet_engine.models.registry import Model, build_model
from pagelet_engine.weights.checkpoint import Checkpoint
from pagelet_engine.weights.destination import WeightsError
from pagelet_engine.weights.loading import load_weights
from pagelet_engine.worker.model_facts import ModelError, ModelFacts, begin_token, end_tokens

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Blueprint:
    model_dir: Path
    raw: Mapping[str, Any]
    """config.json"""
    shape: ModelShape
    dtype_name: str
    """Of weights, and of the KV cache unless that is held otherwise."""
    kv_dtype_name: str
    quantization: str
    max_model_len: int

    @classmethod
    def read(cls, model_dir: Path, config: EngineConfig) -> Self:
        """Raises ModelFolderError and ModelConfigError."""
        raw = read_object(model_dir / "config.json")
        shape = ModelShape.from_config(raw)
        dtype = sizes.resolve_dtype(config.dtype.value, shape)
        return cls(
            model_dir,
            raw,
            shape,
            dtype,
            sizes.resolve_kv_dtype(config.kv_cache_dtype.value, dtype),
            config.quantization.value,
            resolve_max_model_len(config.max_model_len, shape),
        )

    @property
    def dtype(self) -> torch.dtype:
        return _DTYPES[self.dtype_name]

    @property
    def kv_dtype(self) -> torch.dtype:
        return _DTYPES.get(self.kv_dtype_name, torch.float8_e4m3fn)

    @property
    def weight_bytes(self) -> int:
        return sizes.weight_bytes(self.shape, self.dtype_name, self.quantization)

    def build(self, backend: Backend) -> Model:
        """The model with this rank's weights. Raises ModelConfigError and WeightsError."""
        model = build_model(self.shape, self.raw, backend)
        load_weights(Checkpoint(self.model_dir), model.load(), model.ignored)
        return model

    def facts(self, digest: str, device: torch.device) -> ModelFacts:
        generation = self.model_dir / "generation_config.json"
        vocab_size = self.shape.vocab_size
        defaults = read_object(generation) if generation.exists() else {}
        return ModelFacts(
            digest=digest,
            architecture=self.shape.architecture,
            parameters=sizes.parameter_count(self.shape),
            weight_bytes=self.weight_bytes,
            dtype=self.dtype_name,
            kv_cache_dtype=self.kv_dtype_name,
            vocab_size=vocab_size,
            max_model_len=self.max_model_len,
            eos_token_ids=end_tokens(self.raw, defaults, vocab_size),
            bos_token_id=begin_token(self.raw, vocab_size),
            device="rocm" if device.type == "cuda" and torch.version.hip else device.type,
        )


def load_verified(model_dir: Path, digest: str, load: Callable[[], Callable[[str], T]]) -> T:
    """Verify the folder's digest beside loading it. `load` returns what needs but the digest found to be complete.

    digest: the wanted one; empty: any. Raises ModelError for whatever is wrong with the folder or its model.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="verify") as pool:
        verification = pool.submit(verify, model_dir, digest)
        with model_errors(lambda: verification.exception()):
            complete = load()
            return complete(verification.result())


@contextmanager
def model_errors(cause: Callable[[], BaseException | None] = lambda: None) -> Iterator[None]:
    """Whatever is wrong with a folder or its model becomes a ModelError. `cause` knows whether its files are what they
    should be: if not, that explains what went wrong in reading them."""
    try:
        yield
    except (ModelFolderError, ModelConfigError, DoesNotFitError, WeightsError) as error:
        behind = cause() or error
        raise ModelError(str(behind)) from behind
