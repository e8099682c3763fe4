"""A model's `config.json`, read architecture by architecture into the fields of `sizes.ModelShape`.

What an architecture's layers are made of is known here in the same words as in the engine's model; an architecture is
added in both or in neither. Defaults are those of transformers, for fields that a file leaves out.
"""

from collections.abc import Callable, Mapping
from typing import Any

CHECKPOINT_DTYPES = ("float32", "bfloat16", "float16")
_WINDOWED, _WHOLE = "sliding_attention", "full_attention"


class ModelConfigError(ValueError):
    """A `config.json` that cannot be used; the message names the field, what was wanted and what was found."""


class ConfigFields:
    """Typed look-ups in a `config.json`, each with an error that says what was wanted."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config

    def size(self, name: str, default: int | None = None) -> int:
        """A positive integer; a missing or null field takes the default, and without one is an error."""
        value = self._config.get(name)
        if value is None:
            value = default
        if value is None:
            raise ModelConfigError(f"config.json: {name} is missing; wanted a positive integer")
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            raise ModelConfigError(f"config.json: {name}: wanted a positive integer, found {value!r}")
        return value

    def size_or_null(self, name: str, default: int | None) -> int | None:
        """A positive integer, or null; a missing field, and only that, takes the default."""
        if name not in self._config:
            return default
        return None if self._config[name] is None else self.size(name)

    def flag(self, name: str, default: bool) -> bool:
        value = self._config.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise ModelConfigError(f"config.json: {name}: wanted true or false, found {value!r}")
        return value

    def dtype(self) -> str:
        """`dtype`, in older files `torch_dtype`; without either, float32 as in transformers."""
        value = self._config.get("dtype") or self._config.get("torch_dtype") or "float32"
        if not isinstance(value, str) or value not in CHECKPOINT_DTYPES:
            raise ModelConfigError(f"config.json: dtype: wanted one of {', '.join(CHECKPOINT_DTYPES)}, found {value!r}")
        return value

    def layers(self, name: str, num_layers: int) -> frozenset[int]:
        """A list of numbers of layers; missing or null: none."""
        value = self._config.get(name) or []
        if not isinstance(value, list) or not set(value) <= set(range(num_layers)):
            raise ModelConfigError(f"config.json: {name}: wanted a list of layers below {num_layers}, found {value!r}")
        return frozenset(value)

    def layer_types(self, num_layers: int) -> tuple[str, ...] | None:
        """One a layer, of the two that we know; None: the file does not say."""
        value = self._config.get("layer_types")
        if value is None:
            return None
        known = isinstance(value, list) and all(each in (_WINDOWED, _WHOLE) for each in value)
        if not known or len(value) != num_layers:
            raise ModelConfigError(
                f"config.json: layer_types: wanted {num_layers} of {_WINDOWED}, {_WHOLE}, found {value!r:.120}"
            )
        return tuple(value)


Shape = dict[str, Any]
"""Fields of `sizes.ModelShape`, all but the architecture's name."""


def _llama(fields: ConfigFields) -> Shape:
    shape = _decoder(fields, kv_heads=None, head_dim=None)
    return shape | {
        "windows": (None,) * shape["num_layers"],
        "attention_bias": fields.flag("attention_bias", False),
        "mlp_bias": fields.flag("mlp_bias", False),
    }


def _mistral(fields: ConfigFields) -> Shape:
    shape = _decoder(fields, kv_heads=8, head_dim=None)
    return shape | {"windows": _alike(fields, shape["num_layers"], fields.size_or_null("sliding_window", 4096))}


def _mixtral(fields: ConfigFields) -> Shape:
    shape = _decoder(fields, kv_heads=8, head_dim=None)
    num_layers = shape["num_layers"]
    return shape | {
        "windows": _alike(fields, num_layers, fields.size_or_null("sliding_window", None)),
        **_experts(fields, num_experts=fields.size("num_local_experts", 8), per_token=2),
        "expert_intermediate_size": shape["intermediate_size"],
        "expert_layers": tuple(range(num_layers)),
    }


def _qwen2(fields: ConfigFields) -> Shape:
    shape = _decoder(fields, kv_heads=32, head_dim=None)
    return shape | {"windows": _late_windows(fields, shape["num_layers"]), "qkv_bias": True}


def _qwen3(fields: ConfigFields) -> Shape:
    shape = _decoder(fields, kv_heads=32, head_dim=128)
    return shape | {
        "windows": _late_windows(fields, shape["num_layers"]),
        "attention_bias": fields.flag("attention_bias", False),
        "qk_norm": True,
    }


def _qwen3_moe(fields: ConfigFields) -> Shape:
    shape = _decoder(fields, kv_heads=4, head_dim=None)
    num_layers = shape["num_layers"]
    window = fields.size_or_null("sliding_window", 4096) if fields.flag("use_sliding_window", False) else None
    dense, step = fields.layers("mlp_only_layers", num_layers), fields.size("decoder_sparse_step", 1)
    # transformers 5 writes num_experts under Mixtral's name
    num_experts = fields.size("num_experts", fields.size("num_local_experts", 128))
    return shape | {
        "windows": _alike(fields, num_layers, window),
        "attention_bias": fields.flag("attention_bias", False),
        "qk_norm": True,
        **_experts(fields, num_experts=num_experts, per_token=8),
        "expert_intermediate_size": fields.size("moe_intermediate_size", 768),
        "expert_layers": tuple(n for n in range(num_layers) if n not in dense and (n + 1) % step == 0),
    }


def _gemma3(fields: ConfigFields) -> Shape:
    shape = _decoder(fields, kv_heads=4, head_dim=256, tied=True)
    num_layers = shape["num_layers"]
    kinds = fields.layer_types(num_layers)
    if kinds is None:
        pattern = fields.size("sliding_window_pattern", 6)
        kinds = tuple(_WINDOWED if (layer + 1) % pattern else _WHOLE for layer in range(num_layers))
    return shape | {
        "windows": _by_type(kinds, fields.size_or_null("sliding_window", 4096)),
        "attention_bias": fields.flag("attention_bias", False),
        "qk_norm": True,
        "post_norms": True,
    }


ARCHITECTURES: dict[str, Callable[[ConfigFields], Shape]] = {
    "LlamaForCausalLM": _llama,  # Llama 2, Llama 3, SmolLM2
    "MistralForCausalLM": _mistral,
    "Qwen2ForCausalLM": _qwen2,
    "Qwen3ForCausalLM": _qwen3,
    "MixtralForCausalLM": _mixtral,
    "Qwen3MoeForCausalLM": _qwen3_moe,
    "Gemma3ForCausalLM": _gemma3,
}


def _decoder(fields: ConfigFields, *, kv_heads: int | None, head_dim: int | None, tied: bool = False) -> Shape:
    """What all have. kv_heads, head_dim: where the field is missing; None is as many as heads, and hidden / heads."""
    hidden_size, num_heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    num_kv_heads = fields.size_or_null("num_key_value_heads", kv_heads) or num_heads
    if num_heads % num_kv_heads:
        raise ModelConfigError(
            f"config.json: num_attention_heads {num_heads} is not a multiple of num_key_value_heads {num_kv_heads}"
        )
    head_dim = fields.size("head_dim", head_dim or hidden_size // num_heads or None)
    if head_dim % 2:
        raise ModelConfigError(f"config.json: head_dim: wanted an even number (rotary pairs), found {head_dim}")
    return {
        "hidden_size": hidden_size,
        "num_layers": fields.size("num_hidden_layers"),
        "num_heads": num_heads,
        "num_kv_heads": num_kv_heads,
        "head_dim": head_dim,
        "intermediate_size": fields.size("intermediate_size"),
        "vocab_size": fields.size("vocab_size"),
        "max_position": fields.size("max_position_embeddings"),
        "tie_word_embeddings": fields.flag("tie_word_embeddings", tied),
        "checkpoint_dtype": fields.dtype(),
    }


def _experts(fields: ConfigFields, *, num_experts: int, per_token: int) -> Shape:
    wanted = fields.size("num_experts_per_tok", per_token)
    if wanted > num_experts:
        raise ModelConfigError(f"config.json: num_experts_per_tok {wanted} is more than the {num_experts} experts")
    return {"num_experts": num_experts, "experts_per_token": wanted}


def _alike(fields: ConfigFields, num_layers: int, window: int | None) -> tuple[int | None, ...]:
    """One window for all layers, in an architecture that knows no layer types: a file that has them means another."""
    kind = _WHOLE if window is None else _WINDOWED
    if set(fields.layer_types(num_layers) or ()) - {kind}:
        raise ModelConfigError(f"config.json: layer_types: wanted {kind} in every layer, found others: not supported")
    return (window,) * num_layers


def _late_windows(fields: ConfigFields, num_layers: int) -> tuple[int | None, ...]:
    """Qwen: windows only where they are switched on, and without layer types in the layers from one on."""
    window = fields.size_or_null("sliding_window", 4096) if fields.flag("use_sliding_window", False) else None
    kinds = fields.layer_types(num_layers)
    if kinds is None:
        whole = num_layers if window is None else fields.size("max_window_layers", 28)
        kinds = tuple(_WHOLE if layer < whole else _WINDOWED for layer in range(num_layers))
    return _by_type(kinds, window)


def _by_type(kinds: tuple[str, ...], window: int | None) -> tuple[int | None, ...]:
    if _WINDOWED in kinds and window is None:
        raise ModelConfigError(f"config.json: sliding_window: wanted a positive integer for {_WINDOWED}, found none")
    return tuple(window if kind == _WINDOWED else None for kind in kinds)
