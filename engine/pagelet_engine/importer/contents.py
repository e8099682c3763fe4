"""What an import is going to write: small files whole, tensors as streams of rows.

The meeting point of the room: sources (GGUF, Hugging Face folders) describe a model in these terms, the writer writes
it. Nothing here has read or converted a weight yet, so that a model larger than memory passes through.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pagelet_engine.importer.floats import FLOATS


@dataclass(frozen=True, slots=True)
class NewTensor:
    """One tensor of the new model: what the file's header will say, and where its elements come from."""

    name: str
    dtype: str
    """As transformers spells it, e.g. "bfloat16"."""
    shape: tuple[int, ...]
    read: Callable[[], Iterator[np.ndarray]]
    """The elements' bits in row-major order, in pieces of bounded size."""

    @property
    def num_elements(self) -> int:
        return math.prod(self.shape)

    @property
    def num_bytes(self) -> int:
        return self.num_elements * FLOATS[self.dtype].num_bytes


@dataclass(frozen=True, slots=True)
class ModelContents:
    """A whole model folder but its manifest."""

    files: Mapping[str, bytes]
    """Small files by name, tokenizer.json among them."""
    tensors: tuple[NewTensor, ...]

    @property
    def weight_bytes(self) -> int:
        return sum(tensor.num_bytes for tensor in self.tensors)

    @property
    def num_bytes(self) -> int:
        return self.weight_bytes + sum(map(len, self.files.values()))


def to_json(value: Mapping[str, Any]) -> bytes:
    """The bytes of a configuration file."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
