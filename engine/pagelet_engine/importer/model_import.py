"""The import itself: source → contents → a new folder → its manifest."""

import json
from dataclasses import dataclass
from pathlib import Path

from pagelet_api.model_folder import ModelFolderError, total_bytes, write_manifest
from pagelet_api.sizes import ModelConfigError, ModelShape, parameter_count

from pagelet_engine.importer.contents import ModelContents
from pagelet_engine.importer.destination import check_destination, new_folder
from pagelet_engine.importer.gguf_model import gguf_contents
from pagelet_engine.importer.hf_folder import hf_contents
from pagelet_engine.importer.progress import Progress
from pagelet_engine.importer.refusal import ImportRefused
from pagelet_engine.importer.safetensors_file import write_shards

DEFAULT_SHARD_BYTES = 5 * 10**9


@dataclass(frozen=True, slots=True)
class Imported:
    digest: str
    architecture: str
    parameters: int
    weight_bytes: int


def import_model(
    source: Path,
    destination: Path,
    *,
    progress: Progress,
    dtype: str | None = None,
    overwrite: bool = False,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
) -> Imported:
    """Turn a GGUF file or a Hugging Face folder into a verified model folder.

    `dtype` is one of FLOATS; None keeps a folder's types, and means bfloat16 for a GGUF file. The destination is there
    whole or not at all; an existing model folder is replaced only with `overwrite`. Raises ImportRefused.
    """
    if not source.exists():
        raise ImportRefused(f"{source} is not there; wanted a GGUF file or a Hugging Face folder")
    check_destination(source, destination, overwrite)
    contents = hf_contents(source, dtype) if source.is_dir() else gguf_contents(source, dtype)
    shape = _shape(source, contents)
    try:
        with new_folder(destination, contents.num_bytes) as folder:
            for name, content in contents.files.items():
                (folder / name).write_bytes(content)
            with progress("importing weights", contents.weight_bytes) as advance:
                write_shards(folder, contents.tensors, shard_bytes, advance)
            with progress("writing the manifest", total_bytes(folder)) as advance:
                digest = write_manifest(folder, advance)
    except (OSError, ModelFolderError) as error:
        raise ImportRefused(f"writing {destination} failed: {getattr(error, 'strerror', None) or error}") from error
    return Imported(digest, shape.architecture, parameter_count(shape), contents.weight_bytes)


def _shape(source: Path, contents: ModelContents) -> ModelShape:
    """The shape as every part of Pagelet will read it: what it cannot read is refused before a byte is written."""
    try:
        return ModelShape.from_config(json.loads(contents.files["config.json"]))
    except ModelConfigError as error:
        raise ImportRefused(f"{source}: {error}") from error
