"""A Hugging Face folder as a model to import: its safetensors, configuration and tokenizer, checked and trimmed.

Pickle files are never opened: loading one runs whatever code it holds.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pagelet_api.model_folder import ModelFolderError, read_object

from pagelet_engine.importer.contents import ModelContents, NewTensor, to_json
from pagelet_engine.importer.floats import FLOATS
from pagelet_engine.importer.refusal import ImportRefused
from pagelet_engine.importer.safetensors_file import INDEX, StoredTensor, read_header

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def hf_contents(folder: Path, dtype: str | None) -> ModelContents:
    """What the model folder will hold; weights are read later, as they are or rounded to `dtype`.

    Raises ImportRefused.
    """
    stored = [tensor for path in weight_files(folder) for tensor in read_header(path)]
    config = _required_object(folder, "config.json")
    if "quantization_config" in config:
        raise ImportRefused(
            f"{folder} holds quantised weights, which cannot be imported; choose the model they came from"
        )
    if dtype:
        config = {key: value for key, value in config.items() if key != "torch_dtype"} | {"dtype": dtype}
    return ModelContents(
        {"config.json": to_json(config), **_text_files(folder, config)},
        tuple(_new_tensor(tensor, dtype or tensor.dtype) for tensor in stored),
    )


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that make up the model: those of the index, or the only one."""
    if (folder / INDEX).is_file():
        weight_map = _required_object(folder, INDEX).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise ImportRefused(f"{folder / INDEX} has no weight_map; fetch it again")
        names = sorted({str(name) for name in weight_map.values()})
        if outside := [name for name in names if Path(name).name != name]:
            raise ImportRefused(f"{folder / INDEX} names {outside[0]!r}, which is not a file of this folder")
        if missing := [name for name in names if not (folder / name).is_file()]:
            raise ImportRefused(
                f"{folder}: {missing[0]} is missing ({len(missing)} of {len(names)} files); fetch it again"
            )
        return [folder / name for name in names]
    found = sorted(folder.glob("*.safetensors"))
    if (folder / "model.safetensors") in found:
        return [folder / "model.safetensors"]
    if len(found) == 1:
        return found
    if found:
        raise ImportRefused(
            f"{folder} has {len(found)} safetensors files and no {INDEX} that says which belong together"
        )
    if pickles := sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern)):
        raise ImportRefused(
            f"{folder} has its weights in {pickles[0]}: pickle files are not read, because loading one can run any "
            "code; save the model as safetensors where you trust it"
        )
    raise ImportRefused(f"{folder} has no *.safetensors: not a model's folder, or a part of one")


def _new_tensor(stored: StoredTensor, dtype: str) -> NewTensor:
    read = stored.read if dtype == stored.dtype else partial(_converted, stored, dtype)
    return NewTensor(stored.name, dtype, stored.shape, read)


def _converted(stored: StoredTensor, dtype: str) -> Iterator[np.ndarray]:
    for bits in stored.read():
        values = FLOATS[stored.dtype].to_float32(bits)
        converted = FLOATS[dtype].from_float32(values)
        if dtype == "float16" and np.isfinite(values).all() and not np.isfinite(converted).all():
            raise ImportRefused(f"tensor {stored.name} has values beyond float16's range; choose --dtype bfloat16")
        yield converted


def _text_files(folder: Path, config: dict[str, Any]) -> dict[str, bytes]:
    if not (folder / "tokenizer.json").is_file():
        raise ImportRefused(
            f"{folder} has no tokenizer.json; load its tokenizer with transformers and save it again, which writes one"
        )
    _required_object(folder, "tokenizer.json")
    files = {"tokenizer.json": (folder / "tokenizer.json").read_bytes()}
    # Older checkpoints keep bos, eos and the others in a file of their own.
    tokenizer_config = _object(folder, "special_tokens_map.json") | _object(folder, "tokenizer_config.json")
    template = tokenizer_config.pop("chat_template", None)
    if (folder / "chat_template.jinja").is_file():
        files["chat_template.jinja"] = (folder / "chat_template.jinja").read_bytes()
    elif text := _default_template(template):
        files["chat_template.jinja"] = text.encode()
    files["tokenizer_config.json"] = to_json(tokenizer_config)
    generation = _object(folder, "generation_config.json") or {
        key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id") if key in config
    }
    return files | {"generation_config.json": to_json(generation)}


def _default_template(template: Any) -> str | None:
    """A template, or the one called "default" of several."""
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _required_object(folder: Path, name: str) -> dict[str, Any]:
    if not (folder / name).is_file():
        raise ImportRefused(f"{folder} has no {name}: not a model's folder, or a part of one")
    return _object(folder, name)


def _object(folder: Path, name: str) -> dict[str, Any]:
    """A JSON file's object; a missing file is an empty one."""
    if not (folder / name).exists():
        return {}
    try:
        return read_object(folder / name)
    except ModelFolderError as error:
        raise ImportRefused(str(error)) from error
