"""A Hugging Face folder as a model folder without its weights being written again: files move, texts are made anew.

For folders that were just fetched, whose weights are as large as the disk they lie on. The same source gives the same
bytes, hence the same digest.
"""

from collections.abc import Callable
from pathlib import Path

from pagelet_api.model_folder import write_manifest

from pagelet_engine.importer.hf_folder import hf_contents, weight_files
from pagelet_engine.importer.progress import Advance
from pagelet_engine.importer.safetensors_file import INDEX

SINGLE = "model.safetensors"


def adopt_hf_folder(source: Path, folder: Path, place: Callable[[Path, Path], object], advance: Advance) -> str:
    """Make the empty `folder` the model folder of `source` and return its digest.

    `place(file, destination)` moves or copies a file of weights. `advance` hears of the bytes hashed. Raises
    ImportRefused, before anything is placed, for what cannot be imported; OSError and ModelFolderError for the rest.
    """
    contents = hf_contents(source, None)
    weights = weight_files(source)
    if (source / INDEX).is_file():
        (folder / INDEX).write_bytes((source / INDEX).read_bytes())
        for file in weights:
            place(file, folder / file.name)
    else:
        place(weights[0], folder / SINGLE)
    for name, content in contents.files.items():
        (folder / name).write_bytes(content)
    return write_manifest(folder, advance)
