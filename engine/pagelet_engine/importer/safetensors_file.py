"""Safetensors files, read and written as streams of bytes: no torch, no tensor whole in memory.

Format: https://huggingface.co/docs/safetensors/index#format (8 bytes of header length, JSON header, data without
holes). It owns the bytes of one file and how a model is cut into shards; it refuses to know what tensors mean.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pagelet_engine.importer.contents import NewTensor
from pagelet_engine.importer.floats import FLOATS
from pagelet_engine.importer.progress import Advance
from pagelet_engine.importer.refusal import ImportRefused

INDEX = "model.safetensors.index.json"
_DATA_ALIGNMENT = 64
"""The data begins on a cache line, and so do most tensors of a mapped file."""
_MAX_HEADER_BYTES = 100 << 20
_PIECE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a file on disk."""

    path: Path
    name: str
    dtype: str
    """As transformers spells it."""
    shape: tuple[int, ...]
    offset: int
    """Bytes from the file's beginning."""

    def read(self) -> Iterator[np.ndarray]:
        """The elements' bits, in pieces of bounded size."""
        bits = FLOATS[self.dtype].bits
        count, piece = math.prod(self.shape), _PIECE_BYTES // np.dtype(bits).itemsize
        with self.path.open("rb") as file:
            file.seek(self.offset)
            for start in range(0, count, piece):
                yield np.fromfile(file, bits, min(piece, count - start))


def read_header(path: Path) -> list[StoredTensor]:
    """The tensors of one file. Raises ImportRefused when it is damaged, cut short, or holds types we do not import."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= _MAX_HEADER_BYTES:
                raise ValueError(f"a header of {length} bytes")
            header = json.loads(file.read(length))
            size = file.seek(0, 2)
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        tensors = [_stored(path, name, entry, 8 + length) for name, entry in entries.items()]
        end = 8 + length + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except OSError as error:
        raise ImportRefused(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ImportRefused(f"{path} is not a whole safetensors file ({error}); fetch it again") from error
    if size < end:
        raise ImportRefused(f"{path} is cut short: its header wants {end} bytes, found {size}; fetch it again")
    return tensors


def _stored(path: Path, name: str, entry: dict[str, Any], data_start: int) -> StoredTensor:
    dtypes = {kind.safetensors_name: dtype for dtype, kind in FLOATS.items()}
    if entry["dtype"] not in dtypes:
        raise ImportRefused(
            f"{path}: tensor {name} is stored as {entry['dtype']}, and only {', '.join(dtypes)} can be imported; "
            "choose a checkpoint that is not quantised"
        )
    dtype, shape = dtypes[entry["dtype"]], tuple(int(size) for size in entry["shape"])
    begin, end = entry["data_offsets"]
    if end - begin != math.prod(shape) * FLOATS[dtype].num_bytes or begin < 0:
        raise ValueError(f"tensor {name} of shape {shape} in bytes {begin} to {end}")
    return StoredTensor(path, name, dtype, shape, data_start + begin)


def write_shards(folder: Path, tensors: Sequence[NewTensor], shard_bytes: int, advance: Advance) -> None:
    """Write the tensors into `folder`: one model.safetensors, or shards of at most `shard_bytes` and their index.

    A tensor is never cut, so one larger than `shard_bytes` has a shard of its own.
    """
    shards: list[list[NewTensor]] = [[]]
    for tensor in tensors:
        if shards[-1] and sum(t.num_bytes for t in shards[-1]) + tensor.num_bytes > shard_bytes:
            shards.append([])
        shards[-1].append(tensor)
    if len(shards) == 1:
        write_file(folder / "model.safetensors", shards[0], advance)
        return
    weight_map = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_file(folder / name, shard, advance)
        weight_map.update({tensor.name: name for tensor in shard})
    total = sum(tensor.num_bytes for tensor in tensors)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def write_file(path: Path, tensors: Sequence[NewTensor], advance: Advance) -> None:
    """Write one file, tensor by tensor; `advance` hears of the bytes written."""
    # Wide elements first: every tensor then begins on a multiple of its element's size.
    ordered = sorted(tensors, key=lambda tensor: -FLOATS[tensor.dtype].num_bytes)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in ordered:
        header[tensor.name] = {
            "dtype": FLOATS[tensor.dtype].safetensors_name,
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.num_bytes],
        }
        offset += tensor.num_bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _DATA_ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in ordered:
            begin = file.tell()
            for piece in tensor.read():
                file.write(np.ascontiguousarray(piece).data)
                advance(piece.nbytes)
            written = file.tell() - begin
            assert written == tensor.num_bytes, f"{tensor.name}: {written} bytes written, {tensor.num_bytes} announced"
