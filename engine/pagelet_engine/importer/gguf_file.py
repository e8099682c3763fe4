"""A GGUF file: its metadata with the types we expect, and its tensors as rows of float32.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Reading and dequantising is the `gguf` package's;
here its errors become sentences. It refuses to know architectures and tokenizers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import gguf
import numpy as np
from numpy.typing import NDArray

from pagelet_engine.importer.refusal import ImportRefused

_Value = TypeVar("_Value")
_MAGIC = b"GGUF"


@dataclass(frozen=True, slots=True)
class GgufTensor:
    shape: tuple[int, ...]
    """In row-major order, as numpy and torch count it: (rows, columns) for a matrix."""
    kind: str
    """F32, Q4_1, …"""
    _data: np.ndarray
    _type: Any

    def rows(self, which: slice | NDArray[np.intp]) -> NDArray[np.float32]:
        """The chosen rows (of a vector: elements) as float32; quantised blocks never cross a row."""
        return np.ascontiguousarray(gguf.dequantize(self._data[which], self._type), dtype=np.float32)


class _BoundedReader(gguf.GGUFReader):
    """The package's reader, which takes what lies beyond the end for empty, and so believes any length it is told."""

    def _get(self, offset: int, dtype: Any, count: int = 1, override_order: Any = None) -> np.ndarray:
        end = int(offset) + np.dtype(dtype).itemsize * int(count)
        if end > len(self.data):
            raise ValueError(f"wanted {end} bytes, found {len(self.data)}")
        values: np.ndarray = super()._get(offset, dtype, count, override_order)
        return values


class GgufFile:
    """An open file. Raises ImportRefused when it is not GGUF, damaged, cut short, or in a type nobody can read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                magic = file.read(len(_MAGIC))
        except OSError as error:
            raise ImportRefused(f"cannot read {path}: {error.strerror}") from error
        if magic != _MAGIC:
            raise ImportRefused(f"{path} is not a GGUF file: it begins with {magic!r}, wanted {_MAGIC!r}")
        try:
            reader = _BoundedReader(path)
            self._fields = {name: field.contents() for name, field in reader.fields.items()}
            self.tensors: Mapping[str, GgufTensor] = {t.name: self._tensor(t) for t in reader.tensors}
        except (ValueError, IndexError, KeyError, OverflowError, MemoryError) as error:
            raise ImportRefused(f"{path} is damaged or cut short ({error}); fetch it again") from error
        if self.optional("split.count", int, 1) > 1:
            raise ImportRefused(f"{path} is one of several parts; merge them with `llama-gguf-split --merge` first")

    def has(self, key: str) -> bool:
        return key in self._fields

    def required(self, key: str, kind: type[_Value]) -> _Value:
        value = self._typed(key, kind)
        if value is None:
            raise ImportRefused(f"{self.path}: the metadata has no {key}, which the import needs")
        return value

    def optional(self, key: str, kind: type[_Value], default: _Value) -> _Value:
        value = self._typed(key, kind)
        return default if value is None else value

    def texts(self, key: str) -> Sequence[str] | None:
        values = self._typed(key, list)
        if values is not None and not all(isinstance(value, str) for value in values):
            raise ImportRefused(f"{self.path}: {key}: wanted a list of strings")
        return values

    def numbers(self, key: str) -> Sequence[float] | None:
        values = self._typed(key, list)
        if values is not None and not all(isinstance(value, int | float) for value in values):
            raise ImportRefused(f"{self.path}: {key}: wanted a list of numbers")
        return values

    def _typed(self, key: str, kind: type[_Value]) -> _Value | None:
        value = self._fields.get(key)
        if isinstance(value, np.generic):
            value = value.item()
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if value is None or (isinstance(value, kind) and not (kind is int and isinstance(value, bool))):
            return value
        raise ImportRefused(f"{self.path}: {key}: wanted {kind.__name__}, found {value!r:.80}")

    def _tensor(self, tensor: Any) -> GgufTensor:
        kind = tensor.tensor_type.name
        try:
            gguf.dequantize(tensor.data[:1], tensor.tensor_type)
        except NotImplementedError as error:
            raise ImportRefused(
                f"{self.path}: tensor {tensor.name} has the type {kind}, which cannot be read; choose another file"
            ) from error
        return GgufTensor(tuple(int(size) for size in reversed(tensor.shape)), kind, tensor.data, tensor.tensor_type)
