"""The Llama architecture in GGUF (Llama 2 and 3, SmolLM2, Mistral) → config.json and tensors under transformers' names.

llama.cpp stores the rows of q and k in another order: it rotates neighbouring elements, transformers an element with
the one half a head away. The order is undone here, row by row, before anything is dequantised.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagelet_engine.importer.contents import NewTensor
from pagelet_engine.importer.floats import FLOATS
from pagelet_engine.importer.gguf_file import GgufFile, GgufTensor
from pagelet_engine.importer.gguf_rope import FACTORS_TENSOR, rope_parameters
from pagelet_engine.importer.refusal import ImportRefused

_PIECE_ELEMENTS = 1 << 18
"""Elements dequantised at a time: what fits into the second-level cache with its temporaries."""


def llama_config(file: GgufFile, dtype: str) -> dict[str, Any]:
    """The config.json, as transformers 5 writes it for `LlamaForCausalLM`."""
    prefix = "llama"
    if file.optional(f"{prefix}.expert_count", int, 0):
        raise ImportRefused(f"{file.path} is a mixture of experts, which cannot be imported yet")
    if "token_embd.weight" not in file.tensors:
        raise ImportRefused(f"{file.path} has no tensor token_embd.weight: not a language model, or a part of one")
    hidden_size = file.required(f"{prefix}.embedding_length", int)
    num_heads = file.required(f"{prefix}.attention.head_count", int)
    rotary_dim = file.optional(f"{prefix}.rope.dimension_count", int, hidden_size // num_heads)
    head_dim = file.optional(f"{prefix}.attention.key_length", int, rotary_dim)
    if head_dim != rotary_dim or head_dim != file.optional(f"{prefix}.attention.value_length", int, head_dim):
        raise ImportRefused(
            f"{file.path}: heads that are rotated in part, or whose values differ in size, are not supported"
        )
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": "blk.0.attn_q.bias" in file.tensors,
        "attention_dropout": 0.0,
        "dtype": dtype,
        "head_dim": head_dim,
        "hidden_act": "silu",
        "hidden_size": hidden_size,
        "intermediate_size": file.required(f"{prefix}.feed_forward_length", int),
        "max_position_embeddings": file.required(f"{prefix}.context_length", int),
        "mlp_bias": "blk.0.ffn_gate.bias" in file.tensors,
        "model_type": "llama",
        "num_attention_heads": num_heads,
        "num_hidden_layers": file.required(f"{prefix}.block_count", int),
        "num_key_value_heads": file.optional(f"{prefix}.attention.head_count_kv", int, num_heads),
        "rms_norm_eps": _shortest(file.required(f"{prefix}.attention.layer_norm_rms_epsilon", float)),
        "rope_parameters": rope_parameters(file, prefix, head_dim),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "use_cache": True,
        "vocab_size": file.tensors["token_embd.weight"].shape[0],
    }


def llama_tensors(file: GgufFile, config: dict[str, Any]) -> tuple[NewTensor, ...]:
    """Every tensor of the model. Raises ImportRefused for one missing, unknown or of another shape."""
    names = dict(_names(config))
    unknown = sorted(file.tensors.keys() - names.keys() - {FACTORS_TENSOR})
    missing = sorted(names.keys() - file.tensors.keys())
    if unknown or missing:
        wrong = f"no tensor {missing[0]}" if missing else f"a tensor {unknown[0]} that Llama does not have"
        raise ImportRefused(f"{file.path} has {wrong} ({len(missing)} missing, {len(unknown)} unknown in all)")
    tensors = []
    for gguf_name, name in names.items():
        tensor, wanted = file.tensors[gguf_name], _shape(gguf_name, config)
        if tensor.shape != wanted:
            raise ImportRefused(f"{file.path}: tensor {gguf_name}: wanted shape {wanted}, found {tensor.shape}")
        heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}.get(_part(gguf_name))
        order = None if heads is None else half_split_order(tensor.shape[0], heads)
        tensors.append(NewTensor(name, config["dtype"], wanted, partial(_read, tensor, config["dtype"], order, name)))
    return tuple(tensors)


def half_split_order(num_rows: int, num_heads: int) -> NDArray[np.intp]:
    """Which stored row becomes row i: within each head, the even rows first, then the odd ones. (num_rows)"""
    pairs = np.arange(num_rows).reshape(num_heads, -1, 2)  # (heads, pairs, 2)
    return pairs.swapaxes(1, 2).reshape(-1)


def _read(tensor: GgufTensor, dtype: str, order: NDArray[np.intp] | None, name: str) -> Iterator[np.ndarray]:
    num_rows = tensor.shape[0]
    step = max(1, _PIECE_ELEMENTS * num_rows // max(1, int(np.prod(tensor.shape))))
    for start in range(0, num_rows, step):
        rows = slice(start, min(start + step, num_rows))
        values = tensor.rows(rows if order is None else order[rows])
        bits = FLOATS[dtype].from_float32(values)
        if dtype == "float16" and not np.isfinite(bits).all():
            raise ImportRefused(f"tensor {name} has values beyond float16's range; choose --dtype bfloat16")
        yield bits


_MODEL_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_NORM_NAMES = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
_ATTENTION_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
}
_MLP_NAMES = {"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def _names(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(name in GGUF, name in transformers) of all tensors that this config has."""
    for ours, theirs in _MODEL_NAMES.items():
        if not (ours == "output" and config["tie_word_embeddings"]):
            yield f"{ours}.weight", f"{theirs}.weight"
    for layer in range(config["num_hidden_layers"]):
        for ours, theirs in {**_NORM_NAMES, **_ATTENTION_NAMES, **_MLP_NAMES}.items():
            yield f"blk.{layer}.{ours}.weight", f"model.layers.{layer}.{theirs}.weight"
        biased = {
            **(_ATTENTION_NAMES if config["attention_bias"] else {}),
            **(_MLP_NAMES if config["mlp_bias"] else {}),
        }
        for ours, theirs in biased.items():
            yield f"blk.{layer}.{ours}.bias", f"model.layers.{layer}.{theirs}.bias"


def _shape(gguf_name: str, config: dict[str, Any]) -> tuple[int, ...]:
    hidden, inner, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    shapes = {
        "token_embd": (vocab, hidden),
        "output": (vocab, hidden),
        "attn_q": (queries, hidden),
        "attn_k": (keys, hidden),
        "attn_v": (keys, hidden),
        "attn_output": (hidden, queries),
        "ffn_gate": (inner, hidden),
        "ffn_up": (inner, hidden),
        "ffn_down": (hidden, inner),
    }
    shape = shapes.get(_part(gguf_name), (hidden,))
    return shape[:1] if gguf_name.endswith(".bias") else shape


def _part(gguf_name: str) -> str:
    """blk.3.attn_q.weight → attn_q"""
    return gguf_name.split(".")[-2]


def _shortest(value: float) -> float:
    """The shortest decimal number that is the same float32: 1e-05 instead of 9.999999747378752e-06."""
    return float(str(np.float32(value)))
