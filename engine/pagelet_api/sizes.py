"""How large a model is: its `config.json` → its shape → its KV groups → bytes.

The one place where sizes are computed, so that the engine, the operator and `pagelet plan` never disagree. Pure
arithmetic over integers: no tensors, no files, no device. What an architecture's layers are made of is known here in
the same words as in the engine's model class; an architecture is added in both or in neither.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

BYTES_OF_DTYPE = {"float32": 4, "bfloat16": 2, "float16": 2}
PANEL_ROWS = 32
"""Output rows that the CPU backend packs side by side; what a quantised layer lacks of the last panel is padding."""


class ModelConfigError(ValueError):
    """A `config.json` that cannot be used; the message names the field, what was wanted and what was found."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The numbers of a `config.json` that sizes and layers are built from, complete: every default filled in."""

    architecture: str
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    max_position: int
    """Tokens of prompt and output that the model was made for."""
    windows: tuple[int | None, ...]
    """One a layer: how many tokens, itself included, a token may look at; None: all before it."""
    tie_word_embeddings: bool = False
    """The output head is the embedding matrix: held and counted once."""
    attention_bias: bool = False
    mlp_bias: bool = False
    checkpoint_dtype: str = "float32"
    """The type in which the checkpoint says it was saved."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Read a parsed `config.json` in the form that transformers writes (4.x and 5.x).

        Raises ModelConfigError for an architecture we lack, naming those we have, and for fields that are missing,
        of the wrong type, or do not fit each other.
        """
        if not isinstance(config, Mapping):
            raise ModelConfigError(f"config.json: wanted an object, found {config!r:.60}")
        names = config.get("architectures")
        if not isinstance(names, list) or not names or not isinstance(names[0], str):
            raise ModelConfigError(f"config.json: architectures: wanted a list with one name, found {names!r:.60}")
        architecture = names[0]
        if architecture not in ARCHITECTURES:
            raise ModelConfigError(
                f"config.json: architecture {architecture} is not supported; supported are: {', '.join(ARCHITECTURES)}"
            )
        return cls(architecture=architecture, **ARCHITECTURES[architecture](_Fields(config)))


@dataclass(frozen=True, slots=True)
class KvGroup:
    """Layers whose KV cache has one shape and one lifetime: they share block tables and live in the same pages."""

    layers: tuple[int, ...]
    """Indices of the model's layers, ascending."""
    num_kv_heads: int
    head_dim: int
    window: int | None = None
    """Tokens kept, the newest included; None: all."""

    def blocks_for(self, num_tokens: int, block_size: int) -> int:
        """Blocks one sample of `num_tokens` holds at most; with a window, those that the window can reach into."""
        blocks = -(-num_tokens // block_size)
        if self.window is None:
            return blocks
        return min(blocks, -(-(self.window - 1) // block_size) + 1)


@dataclass(frozen=True, slots=True)
class Linear:
    """One matrix inside a decoder layer, in the form in which a backend holds it."""

    name: str
    out_features: int
    in_features: int

    @property
    def num_weights(self) -> int:
        return self.out_features * self.in_features


@dataclass(frozen=True, slots=True)
class PackedFormat:
    """A weight-only format: small integers, and the scales that make them numbers again."""

    bits: int
    """Of one weight."""
    scale_bytes: int
    """Of one scale."""
    group: int | None
    """Inputs of one row that share a scale; None: the whole row."""

    def num_bytes(self, linear: Linear) -> int:
        """Bytes of the layer's weights and scales, padding included; its bias is held apart, in the model's dtype."""
        rows = -(-linear.out_features // PANEL_ROWS) * PANEL_ROWS
        scales = 1 if self.group is None else linear.in_features // self.group
        return rows * (linear.in_features * self.bits // 8 + scales * self.scale_bytes)


PACKED_FORMATS = {
    "int8": PackedFormat(bits=8, scale_bytes=4, group=None),  # one fp32 scale a row
    "int4": PackedFormat(bits=4, scale_bytes=2, group=32),  # one fp16 scale a group
}
"""By name; "none" is no format: all weights are numbers of the model's dtype."""


def parameter_count(shape: ModelShape) -> int:
    """Parameters of the whole model, tied ones once: what transformers' `num_parameters()` says."""
    embedding = shape.vocab_size * shape.hidden_size
    head = 0 if shape.tie_word_embeddings else embedding
    final_norm = shape.hidden_size
    return embedding + shape.num_layers * _layer_parameters(shape) + final_norm + head


def weight_bytes(shape: ModelShape, dtype: str, quantization: str) -> int:
    """Bytes of all parameters: those in `block_linears` as `quantization` holds them, all others in `dtype`.

    Raises ModelConfigError for a model that cannot be held so.
    """
    parameters = parameter_count(shape)
    if quantization == "none":
        return parameters * dtype_bytes(dtype)
    held, linears = _format(quantization, dtype, shape), block_linears(shape)
    plain = parameters - shape.num_layers * sum(linear.num_weights for linear in linears)
    return plain * dtype_bytes(dtype) + shape.num_layers * sum(map(held.num_bytes, linears))


def block_linears(shape: ModelShape) -> tuple[Linear, ...]:
    """The matrices of one decoder layer: what a quantization holds its own way. Queries, keys and values are one."""
    hidden, inner = shape.hidden_size, shape.intermediate_size
    q_size, kv_size = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    return (
        Linear("qkv", q_size + 2 * kv_size, hidden),
        Linear("attention out", hidden, q_size),
        Linear("gate", inner, hidden),
        Linear("up", inner, hidden),
        Linear("down", hidden, inner),
    )


def kv_groups(shape: ModelShape) -> tuple[KvGroup, ...]:
    """The layers sorted into KV groups, in the order in which the windows first appear."""
    layers_of_window: dict[int | None, list[int]] = {}
    for layer, window in enumerate(shape.windows):
        layers_of_window.setdefault(window, []).append(layer)
    return tuple(
        KvGroup(tuple(layers), shape.num_kv_heads, shape.head_dim, window)
        for window, layers in layers_of_window.items()
    )


def page_bytes(group: KvGroup, block_size: int, kv_dtype: str) -> int:
    """Bytes of one block of the group: one contiguous page with K and V of `block_size` tokens in all its layers."""
    return 2 * len(group.layers) * group.num_kv_heads * group.head_dim * block_size * dtype_bytes(kv_dtype)


def kv_bytes_per_token(groups: Iterable[KvGroup], kv_dtype: str) -> int:
    """Bytes that one more token adds to the cache while it is inside every window."""
    return sum(page_bytes(group, 1, kv_dtype) for group in groups)


def num_blocks(pool_bytes: int, groups: Iterable[KvGroup], block_size: int, kv_dtype: str) -> int:
    """How many blocks *each* group gets from a pool of `pool_bytes`; 0 when not even one fits."""
    return pool_bytes // sum(page_bytes(group, block_size, kv_dtype) for group in groups)


def dtype_bytes(dtype: str) -> int:
    """Bytes of one element. Raises ModelConfigError for a type we do not hold ("auto" must be resolved before)."""
    if dtype not in BYTES_OF_DTYPE:
        raise ModelConfigError(f"dtype {dtype!r} has no size; wanted one of: {', '.join(BYTES_OF_DTYPE)}")
    return BYTES_OF_DTYPE[dtype]


def resolve_dtype(wanted: str, shape: ModelShape) -> str:
    """The type that `wanted` means for this model: "auto" is the checkpoint's own."""
    return shape.checkpoint_dtype if wanted == "auto" else wanted


def _format(quantization: str, dtype: str, shape: ModelShape) -> PackedFormat:
    """The format of that name. Raises ModelConfigError where the model, or its `dtype`, does not go with it."""
    if quantization not in PACKED_FORMATS:
        raise ModelConfigError(
            f"quantization {quantization!r} has no size; wanted one of: none, {', '.join(PACKED_FORMATS)}"
        )
    if dtype == "float16":
        raise ModelConfigError(
            f"{quantization} computes in bfloat16 or float32, and the model's dtype is float16; set dtype: bfloat16"
        )
    held = PACKED_FORMATS[quantization]
    if (group := held.group) is None:
        return held
    ragged = [
        f"{linear.name} {linear.in_features} = {linear.in_features // group} × {group} + {linear.in_features % group}"
        for linear in block_linears(shape)
        if linear.in_features % group
    ]
    if ragged:
        raise ModelConfigError(
            f"{quantization} takes the inputs of a layer in groups of {group}, and some are left over: "
            f"{', '.join(ragged)}; set quantization: int8, or none"
        )
    return held


def _layer_parameters(shape: ModelShape) -> int:
    """Parameters of one decoder layer: its matrices, their biases, the norms before attention and before the MLP."""
    qkv, out, gate, up, down = linears = block_linears(shape)
    biases = 0
    if shape.attention_bias:
        biases += qkv.out_features + out.out_features
    if shape.mlp_bias:
        biases += gate.out_features + up.out_features + down.out_features
    return sum(linear.num_weights for linear in linears) + biases + 2 * shape.hidden_size


class _Fields:
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
        if not isinstance(value, str) or value not in BYTES_OF_DTYPE:
            raise ModelConfigError(f"config.json: dtype: wanted one of {', '.join(BYTES_OF_DTYPE)}, found {value!r}")
        return value


def _llama(fields: _Fields) -> dict[str, Any]:
    hidden_size, num_heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    num_kv_heads, num_layers = fields.size("num_key_value_heads", num_heads), fields.size("num_hidden_layers")
    if num_heads % num_kv_heads:
        raise ModelConfigError(
            f"config.json: num_attention_heads {num_heads} is not a multiple of num_key_value_heads {num_kv_heads}"
        )
    head_dim = fields.size("head_dim", hidden_size // num_heads or None)
    if head_dim % 2:
        raise ModelConfigError(f"config.json: head_dim: wanted an even number (rotary pairs), found {head_dim}")
    return {
        "hidden_size": hidden_size,
        "num_layers": num_layers,
        "num_heads": num_heads,
        "num_kv_heads": num_kv_heads,
        "head_dim": head_dim,
        "intermediate_size": fields.size("intermediate_size"),
        "vocab_size": fields.size("vocab_size"),
        "max_position": fields.size("max_position_embeddings"),
        "windows": (None,) * num_layers,
        "tie_word_embeddings": fields.flag("tie_word_embeddings", False),
        "attention_bias": fields.flag("attention_bias", False),
        "mlp_bias": fields.flag("mlp_bias", False),
        "checkpoint_dtype": fields.dtype(),
    }


ARCHITECTURES: dict[str, Callable[[_Fields], dict[str, Any]]] = {
    "LlamaForCausalLM": _llama,  # Llama 2, Llama 3, SmolLM2
}
