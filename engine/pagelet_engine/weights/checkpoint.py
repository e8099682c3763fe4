"""A checkpoint on disk: which safetensors file holds which tensor.

Owns file names and the index of shards. Files are mapped, not read: a tensor's bytes are touched once, by the copy into
its parameter.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from pagelet_engine.weights.destination import WeightsError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


class Checkpoint:
    """The tensors of one folder. `files` maps each file to the names it is read for."""

    def __init__(self, folder: Path) -> None:
        """Raises WeightsError when there is no complete set of safetensors files, or two of them."""
        self.files = _sharded(folder) if (folder / INDEX).exists() else _single(folder)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(name for names in self.files.values() for name in names)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Each name with its tensor, a view of the mapped file, in the order of the files."""
        for path, names in self.files.items():
            try:
                with safe_open(path, framework="pt") as file:
                    for name in names:
                        yield name, file.get_tensor(name)
            except (SafetensorError, OSError) as error:
                raise _unreadable(path, error) from error


def _single(folder: Path) -> dict[Path, tuple[str, ...]]:
    path = folder / SINGLE
    if not path.exists():
        candidates = sorted(folder.glob("*.safetensors"))
        if len(candidates) != 1:
            found = ", ".join(each.name for each in candidates) or "none"
            raise WeightsError(
                f"{folder}: wanted {SINGLE}, or {INDEX} with its files, or a single *.safetensors; found {found}"
            )
        (path,) = candidates
    return {path: _names_in(path)}


def _sharded(folder: Path) -> dict[Path, tuple[str, ...]]:
    index = folder / INDEX
    try:
        weight_map = json.loads(index.read_bytes())["weight_map"]
        shard_of = {str(name): str(shard) for name, shard in weight_map.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{index}: wanted an object with weight_map, name → file: {error!r}") from error
    files = {}
    for shard in sorted(set(shard_of.values())):
        path = folder / shard
        if Path(shard).name != shard or not path.is_file():
            raise WeightsError(
                f"{index} names {shard!r}, which is not a file in {folder}; the checkpoint is incomplete"
            )
        held = _names_in(path)
        wanted = {name for name, where in shard_of.items() if where == shard}
        if absent := sorted(wanted - set(held)):
            raise WeightsError(f"{path} lacks {absent[0]}, which {index.name} places there ({len(absent)} such names)")
        if unlisted := sorted(set(held) - wanted):
            raise WeightsError(f"{path} holds {unlisted[0]}, which {index.name} does not place there")
        files[path] = held
    return files


def _names_in(path: Path) -> tuple[str, ...]:
    try:
        with safe_open(path, framework="pt") as file:
            return tuple(file.offset_keys())  # in the order of their bytes, so that the disk is read straight through
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"{path} is not a whole safetensors file ({error}); it was cut short or is in another format, import it again"
    )
