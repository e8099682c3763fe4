"""A GGUF file as a model to import: which architectures we know, and what becomes of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pagelet_engine.importer.contents import ModelContents, NewTensor, to_json
from pagelet_engine.importer.gguf_file import GgufFile
from pagelet_engine.importer.gguf_llama import llama_config, llama_tensors
from pagelet_engine.importer.gguf_vocabulary import generation_config, read_vocabulary
from pagelet_engine.importer.refusal import ImportRefused
from pagelet_engine.importer.tokenizer_files import tokenizer_files

_Config = Callable[[GgufFile, str], dict[str, Any]]
_Tensors = Callable[[GgufFile, dict[str, Any]], tuple[NewTensor, ...]]

# `general.architecture` → its config.json and its tensors.
_ARCHITECTURES: dict[str, tuple[_Config, _Tensors]] = {"llama": (llama_config, llama_tensors)}

DEFAULT_DTYPE = "bfloat16"


def gguf_contents(path: Path, dtype: str | None) -> ModelContents:
    """What the model folder of this file will hold; weights are read later. Raises ImportRefused."""
    file = GgufFile(path)
    architecture = file.required("general.architecture", str)
    if architecture not in _ARCHITECTURES:
        raise ImportRefused(
            f"{path}: architecture {architecture!r} cannot be imported; supported are: {', '.join(_ARCHITECTURES)}"
        )
    make_config, make_tensors = _ARCHITECTURES[architecture]
    config = make_config(file, dtype or DEFAULT_DTYPE)
    tensors = make_tensors(file, config)
    vocabulary = read_vocabulary(file, config["vocab_size"])
    tokens = {
        "bos_token_id": vocabulary.bos,
        "eos_token_id": vocabulary.eos,
        "pad_token_id": vocabulary.padding,
    }
    files = {
        "config.json": to_json(dict(sorted({**config, **tokens}.items()))),
        "generation_config.json": to_json(generation_config(vocabulary)),
        **tokenizer_files(vocabulary, config["max_position_embeddings"]),
    }
    return ModelContents(files, tensors)
