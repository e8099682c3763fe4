"""How large a model is: its `config.json` → its shape → its KV groups → bytes.

The one place where sizes are computed, so that the engine, the operator and `pagelet plan` never disagree. Pure
arithmetic over integers: no tensors, no files, no device.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from pagelet_api.architectures import ARCHITECTURES, ConfigFields
from pagelet_api.architectures import ModelConfigError as ModelConfigError

BYTES_OF_DTYPE = {"float32": 4, "bfloat16": 2, "float16": 2}
FP8_KV_DTYPE = "fp8_e4m3"
"""The KV cache's alone: a page holds all layers' numbers, then an fp32 scale for each token's K and V of each head."""
PANEL_ROWS = 32
"""Output rows that the CPU backend packs side by side; what a quantised layer lacks of the last panel is padding."""


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
    """Of queries, keys, values and the output."""
    mlp_bias: bool = False
    checkpoint_dtype: str = "float32"
    """The type in which the checkpoint says it was saved."""
    qkv_bias: bool = False
    """Of queries, keys and values alone."""
    qk_norm: bool = False
    """Queries and keys are normalised head by head."""
    post_norms: bool = False
    """Attention and MLP have a norm behind them too."""
    num_experts: int = 0
    experts_per_token: int = 0
    expert_intermediate_size: int = 0
    """Of one expert."""
    expert_layers: tuple[int, ...] = ()
    """Indices of the layers that have experts in the place of their MLP."""

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
        return cls(architecture=architecture, **ARCHITECTURES[architecture](ConfigFields(config)))


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
    """Small numbers, and the scales that make them large again."""

    bits: int
    """Of one weight."""
    scale_bytes: int
    """Of one scale."""
    group: int | None
    """Inputs of one row that share a scale; None: the whole row."""
    panel_rows: int = PANEL_ROWS
    """Rows are held in multiples of this."""
    multiple_of: int = 1
    """What inputs and outputs of a layer must be multiples of."""
    dtypes: tuple[str, ...] = ("bfloat16", "float32")
    """Those that it is computed in: of the model's activations."""

    def num_bytes(self, linear: Linear) -> int:
        """Bytes of the layer's weights and scales, padding included; its bias is held apart, in the model's dtype."""
        rows = -(-linear.out_features // self.panel_rows) * self.panel_rows
        scales = 1 if self.group is None else linear.in_features // self.group
        return rows * (linear.in_features * self.bits // 8 + scales * self.scale_bytes)


PACKED_FORMATS = {
    # One fp32 scale a row. On accelerators: their libraries take sixteens, and give bfloat16.
    "fp8": PackedFormat(bits=8, scale_bytes=4, group=None, panel_rows=1, multiple_of=16, dtypes=("bfloat16",)),
    "int8": PackedFormat(bits=8, scale_bytes=4, group=None),  # one fp32 scale a row
    "int4": PackedFormat(bits=4, scale_bytes=2, group=32),  # one fp16 scale a group
}
"""By name; "none" is no format: all weights are numbers of the model's dtype."""


def parameter_count(shape: ModelShape) -> int:
    """Parameters of the whole model, tied ones once: what transformers' `num_parameters()` says."""
    embedding = shape.vocab_size * shape.hidden_size
    head = 0 if shape.tie_word_embeddings else embedding
    final_norm = shape.hidden_size
    return embedding + sum(_layer_parameters(shape, layer) for layer in range(shape.num_layers)) + final_norm + head


def weight_bytes(shape: ModelShape, dtype: str, quantization: str) -> int:
    """Bytes of all parameters: those in `block_linears` as `quantization` holds them, all others in `dtype`.

    Raises ModelConfigError for a model that cannot be held so.
    """
    parameters = parameter_count(shape)
    if quantization == "none":
        return parameters * dtype_bytes(dtype)
    held = _format(quantization, dtype, shape)
    linears = [linear for layer in range(shape.num_layers) for linear in block_linears(shape, layer)]
    plain = parameters - sum(linear.num_weights for linear in linears)
    return plain * dtype_bytes(dtype) + sum(map(held.num_bytes, linears))


def block_linears(shape: ModelShape, layer: int) -> tuple[Linear, ...]:
    """The matrices of one decoder layer: what a quantization holds its own way. Queries, keys and values are one.
    Experts, and what routes to them, are not among them: they stay in the model's dtype."""
    hidden, inner = shape.hidden_size, shape.intermediate_size
    q_size, kv_size = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    attention = (Linear("qkv", q_size + 2 * kv_size, hidden), Linear("attention out", hidden, q_size))
    if layer in shape.expert_layers:
        return attention
    return (*attention, Linear("gate", inner, hidden), Linear("up", inner, hidden), Linear("down", hidden, inner))


def kv_groups(shape: ModelShape, tensor_parallel_size: int = 1) -> tuple[KvGroup, ...]:
    """The layers sorted into KV groups, in the order in which the windows first appear, with the heads that one of so
    many ranks holds."""
    num_kv_heads = max(1, shape.num_kv_heads // tensor_parallel_size)
    layers_of_window: dict[int | None, list[int]] = {}
    for layer, window in enumerate(shape.windows):
        layers_of_window.setdefault(window, []).append(layer)
    return tuple(
        KvGroup(tuple(layers), num_kv_heads, shape.head_dim, window) for window, layers in layers_of_window.items()
    )


def page_bytes(group: KvGroup, block_size: int, kv_dtype: str) -> int:
    """Bytes of one block of the group: one contiguous page with K and V of `block_size` tokens in all its layers."""
    return 2 * len(group.layers) * group.num_kv_heads * block_size * kv_head_bytes(group.head_dim, kv_dtype)


def kv_head_bytes(head_dim: int, kv_dtype: str) -> int:
    """Bytes of one token's K, or its V, of one head: its numbers, and the scale of those in fp8."""
    return head_dim + 4 if kv_dtype == FP8_KV_DTYPE else head_dim * dtype_bytes(kv_dtype)


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


def resolve_kv_dtype(wanted: str, dtype: str) -> str:
    """The KV cache's type that `wanted` means beside weights of `dtype`: "auto" is the same."""
    return FP8_KV_DTYPE if wanted == "fp8" else dtype


def _format(quantization: str, dtype: str, shape: ModelShape) -> PackedFormat:
    """The format of that name. Raises ModelConfigError where the model, or its `dtype`, does not go with it."""
    if quantization not in PACKED_FORMATS:
        raise ModelConfigError(
            f"quantization {quantization!r} has no size; wanted one of: none, {', '.join(PACKED_FORMATS)}"
        )
    held = PACKED_FORMATS[quantization]
    if dtype not in held.dtypes:
        raise ModelConfigError(
            f"{quantization} computes in {' or '.join(held.dtypes)}, and the model's dtype is {dtype}; set dtype: "
            "bfloat16"
        )
    odd = [
        f"{linear.name} {linear.in_features} → {linear.out_features}"
        for linear in _different_linears(shape)
        if linear.in_features % held.multiple_of or linear.out_features % held.multiple_of
    ]
    if odd:
        raise ModelConfigError(
            f"{quantization} takes layers whose inputs and outputs are multiples of {held.multiple_of}, and some are "
            f"not: {', '.join(odd)}; set quantization: none"
        )
    if (group := held.group) is None:
        return held
    ragged = [
        f"{linear.name} {linear.in_features} = {linear.in_features // group} × {group} + {linear.in_features % group}"
        for linear in _different_linears(shape)
        if linear.in_features % group
    ]
    if ragged:
        raise ModelConfigError(
            f"{quantization} takes the inputs of a layer in groups of {group}, and some are left over: "
            f"{', '.join(ragged)}; set quantization: int8, or none"
        )
    return held


@dataclass(frozen=True, slots=True)
class Uneven:
    """Why so many ranks cannot share a model, in words."""

    parts: str
    """What is spread."""
    sums: str
    """The divisions that leave something over."""
    fitting: str
    """The numbers of ranks that can."""


def check_spread(shape: ModelShape, size: int) -> None:
    """Raises ModelConfigError, with the sums, for a model that cannot be spread evenly over `size` ranks."""
    if found := uneven(shape, size):
        raise ModelConfigError(
            f"tensorParallelSize: {found.parts} cannot be spread evenly over {size}: {found.sums}; sizes "
            f"that can: {found.fitting}"
        )


def uneven(shape: ModelShape, size: int) -> Uneven | None:
    """What stands in the way of spreading the model evenly over `size` ranks; None: nothing.

    Attention heads and inner features are split. KV heads are split too, or held more than once where there are fewer
    of them than ranks.
    """
    if not (sums := _remainders(shape, size)):
        return None
    inner = " and ".join(str(each) for each in _inner_sizes(shape))
    return Uneven(
        parts=f"{shape.num_heads} attention heads, {shape.num_kv_heads} KV heads and an intermediate size of {inner}",
        sums=", ".join(sums),
        fitting=", ".join(str(each) for each in range(1, shape.num_heads + 1) if not _remainders(shape, each)),
    )


def _remainders(shape: ModelShape, size: int) -> list[str]:
    """The divisions by `size` that leave something over."""
    kv_heads = (shape.num_kv_heads, size) if shape.num_kv_heads >= size else (size, shape.num_kv_heads)
    divisions = [(shape.num_heads, size), kv_heads, *((each, size) for each in _inner_sizes(shape))]
    return [
        f"{number} = {number // divisor} × {divisor} + {number % divisor}"
        for number, divisor in divisions
        if number % divisor
    ]


def _inner_sizes(shape: ModelShape) -> list[int]:
    """Of the MLPs that there are."""
    dense = [shape.intermediate_size] if len(shape.expert_layers) < shape.num_layers else []
    return dense + ([shape.expert_intermediate_size] if shape.expert_layers else [])


def _different_linears(shape: ModelShape) -> list[Linear]:
    """Each matrix that any of the layers has, once."""
    return list(dict.fromkeys(each for layer in range(shape.num_layers) for each in block_linears(shape, layer)))


def _layer_parameters(shape: ModelShape, layer: int) -> int:
    """Parameters of one decoder layer: its matrices, their biases, its experts and their router, its norms."""
    hidden = shape.hidden_size
    qkv, out, *mlp = linears = block_linears(shape, layer)
    count = sum(linear.num_weights for linear in linears) + (4 if shape.post_norms else 2) * hidden
    if shape.attention_bias or shape.qkv_bias:
        count += qkv.out_features
    if shape.attention_bias:
        count += out.out_features
    if shape.mlp_bias:
        count += sum(linear.out_features for linear in mlp)
    if shape.qk_norm:
        count += 2 * shape.head_dim
    if layer in shape.expert_layers:
        count += shape.num_experts * (hidden + 3 * shape.expert_intermediate_size * hidden)
    return count
