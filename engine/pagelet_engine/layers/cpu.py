"""The CPU backend: ops in C++, weights in panels, a forward pass recorded once and replayed in every step."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pagelet_engine.kernels.cpu.abi import Dtype, KvLayer, Step
from pagelet_engine.kernels.cpu.library import NativeBackend
from pagelet_engine.kernels.cpu.ops import CpuOps
from pagelet_engine.kernels.cpu.tape import Program, Tape, record
from pagelet_engine.kernels.cpu.weights import NATIVE_DTYPES, PackedWeight, WeightMemory
from pagelet_engine.layers.backend import Activation, AttentionSettings, CacheLayer, ExpertWeights, Routing
from pagelet_engine.layers.batch import Batch
from pagelet_engine.layers.ranks import OneRank
from pagelet_engine.weights.destination import Destination, Part, check_shape


@dataclass(frozen=True, slots=True)
class CpuBatch(Batch):
    step: Step
    pages: tuple[Tensor, ...]
    """Of each KV group: (blocks, layers, …), one row a block's page."""
    block_size: int


@dataclass(frozen=True, slots=True)
class PanelRows:
    """Columns of a packed weight, from `first` on, that one tensor of a checkpoint fills with its rows."""

    native: NativeBackend
    weight: PackedWeight
    first: int
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        return self.weight.panels.nbytes * self.shape[0] // self.weight.columns

    def fill(self, name: str, tensor: Tensor) -> None:
        check_shape(name, tensor, self.shape)
        self.weight.pack(self.native, tensor, self.first)


@dataclass(frozen=True, slots=True)
class BiasColumns:
    """Places of a bias (columns, in the panels' order) that one tensor of a checkpoint fills."""

    bias: Tensor
    places: Tensor

    @property
    def num_bytes(self) -> int:
        return len(self.places) * self.bias.itemsize

    def fill(self, name: str, tensor: Tensor) -> None:
        check_shape(name, tensor, self.places.shape)
        self.bias[self.places] = tensor.float()


class Packed:
    """Weights in panels of one type, biases in fp32."""

    def __init__(self, ops: CpuOps, memory: WeightMemory, dtype: Dtype) -> None:
        self._ops, self._memory, self._dtype = ops, memory, dtype

    def declare(
        self, layer: nn.Module, out_features: int, in_features: int, bias: bool, gate: Activation | None = None
    ) -> None:
        assert gate in (None, Activation.SILU), f"the ops have no {gate}: kernels/cpu/limits.py"
        is_gated = gate is not None
        layer.packed = self._memory.packed(out_features, in_features, self._dtype, is_gated)  # type: ignore[assignment]
        layer.register_buffer("bias", torch.zeros(packed(layer).padded_columns) if bias else None)

    def load(self, layer: nn.Module, name: str, rows: slice, part: Part) -> Mapping[str, Destination]:
        weight = packed(layer)
        first, last, _ = rows.indices(weight.columns)
        assert part.shape == (last - first, weight.in_features), "one rank holds all of it"
        destinations: dict[str, Destination] = {
            f"{name}.weight": PanelRows(self._ops.native, weight, first, part.shape)
        }
        if isinstance(layer.bias, Tensor):
            destinations[f"{name}.bias"] = BiasColumns(layer.bias, weight.places(first, last))
        return destinations

    def apply(self, layer: nn.Module, x: Tensor, residual: Tensor | None = None) -> Tensor:
        bias = layer.bias
        assert bias is None or isinstance(bias, Tensor)
        return self._ops.linear(x, packed(layer), bias, residual)


def packed(layer: nn.Module) -> PackedWeight:
    weight = layer.packed
    assert isinstance(weight, PackedWeight)
    return weight


class CpuBackend:
    """Implements `backend.Backend`. One thread at a time, and one rank."""

    device = torch.device("cpu")
    add_rms_norm = None
    ranks = OneRank()

    def __init__(self, native: NativeBackend, dtype: torch.dtype, weight_dtype: Dtype | None = None) -> None:
        """weight_dtype: of the linear layers, where it is not the activations'."""
        self.dtype = dtype
        self.ops = CpuOps(native)
        memory = WeightMemory()
        own = NATIVE_DTYPES[dtype]
        self.linears = Packed(self.ops, memory, own if weight_dtype is None else weight_dtype)
        self.tables = Packed(self.ops, memory, own)

    def embedding(self, table: nn.Module, batch: Batch, first_token: int | None = None, scale: float = 1.0) -> Tensor:
        assert (first_token, scale) == (None, 1.0), "the op looks up rows, all of them, as they are"
        return self.ops.embedding(_own(batch).step, packed(table), self.dtype)

    def head_logits(self, table: nn.Module, x: Tensor) -> Tensor:
        return self.ops.head_logits(x, packed(table))

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        return self.ops.rms_norm(x, weight, eps)

    def rotary(self, inverse_frequencies: Tensor, batch: Batch) -> Tensor:
        return self.ops.rotary(_own(batch).step, inverse_frequencies)

    def attention(
        self, qkv: Tensor, rotary: Tensor, batch: Batch, cache: CacheLayer, settings: AttentionSettings
    ) -> Tensor:
        own = _own(batch)
        pages = own.pages[cache.group]
        kv = KvLayer(
            pages=pages.data_ptr() + cache.layer * pages.stride(1) * pages.itemsize,
            page_stride=pages.stride(0) * pages.itemsize,
            block_size=own.block_size,
            group=cache.group,
            num_heads=cache.num_heads,
            num_kv_heads=cache.num_kv_heads,
            head_dim=cache.head_dim,
        )
        self.ops.rope_kv_write(own.step, qkv, rotary, kv, settings.q_norm, settings.k_norm, settings.norm_eps)
        return self.ops.paged_attention(own.step, qkv, kv, settings.scale, settings.soft_cap)

    def experts(self, x: Tensor, weights: ExpertWeights, routing: Routing) -> Tensor:
        raise NotImplementedError("the ops have no experts: kernels/cpu/limits.py")

    def record(
        self,
        forward: Callable[[Batch], Tensor],
        head: Callable[[Tensor], Tensor],
        pages: Sequence[Tensor],
        block_size: int,
        *,
        max_tokens: int,
        max_sampled: int,
    ) -> Program:
        """Record a model's forward pass and its head, for steps of at most so many tokens and drawn rows."""
        batch = CpuBatch(Step(num_tokens=max_tokens), tuple(pages), block_size)

        def on(tape: Tape) -> tuple[int, Sequence[Tensor]]:
            with self.ops.recording(tape):
                hidden = forward(batch)
                head_begins = len(tape.ops)
                head(self.ops.gather_rows(hidden, max_sampled))
            return head_begins, (hidden,)

        return record(on, forward, head, batch)


def _own(batch: Batch) -> CpuBatch:
    assert isinstance(batch, CpuBatch), f"a batch of another backend: {type(batch)}"
    return batch
