"""Small models to fetch: valid in form, with random weights. No torch, so that a test starts at once."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pagelet_api.model_folder import write_manifest
from safetensors.numpy import save_file

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 48,
    "intermediate_size": 100,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 199,
    "max_position_embeddings": 256,
    "dtype": "float32",
}


def write_hf_folder(folder: Path, shards: int = 2, bytes_a_shard: int = 40_000) -> Path:
    """A Hugging Face folder of random weights, with what such folders have besides."""
    folder.mkdir(parents=True, exist_ok=True)
    random, weight_map = np.random.default_rng(7), {}
    for number in range(1, shards + 1):
        name = f"model-{number:05}-of-{shards:05}.safetensors" if shards > 1 else "model.safetensors"
        tensor = f"model.layers.{number}.weight"
        save_file({tensor: random.random(bytes_a_shard // 4, dtype=np.float32)}, folder / name)
        weight_map[tensor] = name
    if shards > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text('{"model": {}}')
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    (folder / "README.md").write_text("hello")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04pickle")
    return folder


def write_model_folder(folder: Path, **sizes: int) -> str:
    """A verified model folder; returns its digest."""
    write_hf_folder(folder, **sizes)
    (folder / "README.md").unlink()
    (folder / "pytorch_model.bin").unlink()
    return write_manifest(folder)


def names_in(folder: Path) -> Sequence[str]:
    return sorted(path.name for path in folder.iterdir())
