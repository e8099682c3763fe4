"""The least time that this machine needs for given steps. One formula, pure functions:

    floor of a step = max(its FLOPs ÷ the dot-product rate, its bytes ÷ the DRAM bandwidth), summed over the steps

FLOPs: every linear for every token, scores and values of attention for every position that a token looks at, the head
for every token that is drawn. Bytes: every weight once a step, as it is held (the head only if somebody draws, and of
the embedding the rows of the step's tokens), the keys and values before each span once (a block that several samples
share: once for all of them), and those that the step writes. Activations are thought to stay in the caches; norms,
RoPE, softmax and sampling to cost nothing: what is left out makes the floor lower, never higher.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from cpu.steps import Span, StepSpans
from pagelet_api import sizes
from pagelet_api.sizes import ModelShape


@dataclass(frozen=True, slots=True)
class Work:
    """What a step has to compute, and to move between DRAM and the cores."""

    flops: int
    num_bytes: int


@dataclass(frozen=True, slots=True)
class Rates:
    """What the machine gives, measured."""

    flops_per_s: float
    bytes_per_s: float


def floor_s(work: Iterable[Work], rates: Rates) -> float:
    """Seconds below which no engine can be."""
    return sum(max(one.flops / rates.flops_per_s, one.num_bytes / rates.bytes_per_s) for one in work)


def work_of(step: StepSpans, shape: ModelShape, dtype: str, quantization: str, block_size: int) -> Work:
    """One step's FLOPs and bytes. Linears are held as `quantization` says, all else and the KV cache in `dtype`."""
    num_tokens = sum(span.num_tokens for span in step)
    num_draws = sum(span.draws for span in step)
    flops = (
        2 * num_tokens * shape.num_layers * _layer_weights(shape)
        + _attention_flops(step, shape)
        + 2 * num_draws * _head_weights(shape)
    )
    embedded = num_tokens * shape.hidden_size + (_head_weights(shape) if num_draws else 0)
    kv_bytes = sum(
        _kv_tokens_moved(step, group.window, block_size) * sizes.page_bytes(group, 1, dtype)
        for group in sizes.kv_groups(shape)
    )
    layer_bytes = _layers_bytes(shape, dtype, quantization)
    return Work(flops, layer_bytes + embedded * sizes.dtype_bytes(dtype) + kv_bytes)


def _layer_weights(shape: ModelShape) -> int:
    return sum(linear.num_weights for linear in sizes.block_linears(shape, layer=0))


def _layers_bytes(shape: ModelShape, dtype: str, quantization: str) -> int:
    """All weights but the embedding and the head: matrices, norms, biases."""
    matrices = _head_weights(shape) * (1 if shape.tie_word_embeddings else 2)
    return sizes.weight_bytes(shape, dtype, quantization) - matrices * sizes.dtype_bytes(dtype)


def _head_weights(shape: ModelShape) -> int:
    return shape.hidden_size * shape.vocab_size


def _attention_flops(step: StepSpans, shape: ModelShape) -> int:
    """A query of one head takes 2·head_dim for a key's score, and as much for its value."""
    looked_at = sum(_positions_looked_at(span, window) for window in shape.windows for span in step)
    return 4 * shape.head_dim * shape.num_heads * looked_at


def _positions_looked_at(span: Span, window: int | None) -> int:
    """Keys of all the span's queries: position p looks at p + 1 of them, or at a window's."""
    end = span.start + span.num_tokens
    if window is None:
        return _triangle(end) - _triangle(span.start)
    return sum(min(position + 1, window) for position in range(span.start, end))


def _triangle(number: int) -> int:
    return number * (number + 1) // 2


def _kv_tokens_moved(step: StepSpans, window: int | None, block_size: int) -> int:
    """Tokens of one KV group: those before the spans that are looked at, each block once, and the spans' own."""
    read: dict[int, int] = {}  # block → tokens of it
    for span in step:
        first = 0 if window is None else max(0, span.start - window + 1)
        for index, block in enumerate(span.blocks):
            begin, end = index * block_size, (index + 1) * block_size
            tokens = min(end, span.start) - max(begin, first)
            read[block] = max(read.get(block, 0), tokens)
    return sum(read.values()) + sum(span.num_tokens for span in step)
