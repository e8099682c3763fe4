"""Weights in panels: where they lie, and how a checkpoint's rows get there.

A panel holds 32 columns of the product, so that one load brings a word of 16 columns (native/linear.h). Panels of a
gated pair hold 16 columns of each half, so that silu(gate) · up needs no second pass.
"""

import mmap
from dataclasses import dataclass

import torch
from torch import Tensor

from pagelet_engine.kernels.cpu.abi import Dtype, PackJob
from pagelet_engine.kernels.cpu.library import NativeBackend

PANEL = 32
HALF = 16
INT4_GROUP = 32
"""Inputs that share a scale."""

NATIVE_DTYPES = {torch.float32: Dtype.FP32, torch.bfloat16: Dtype.BF16}
"""What the ops compute in."""

_SOURCES = {**NATIVE_DTYPES, torch.float16: Dtype.FP16}
_CHUNK_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class PackedWeight:
    """Of one product: `columns` outputs of `in_features` inputs each."""

    panels: Tensor
    scales: Tensor | None
    dtype: Dtype
    columns: int
    in_features: int
    is_gated: bool

    @property
    def padded_columns(self) -> int:
        """Whole panels."""
        return padded_columns(self.columns, self.is_gated)

    def places(self, first: int, last: int) -> Tensor:
        """(last - first,) int64: where these outputs' columns lie among the panels' columns."""
        output = torch.arange(first, last)
        if not self.is_gated:
            return output
        within, part = output % (self.columns // 2), output // (self.columns // 2)
        return within // HALF * PANEL + part * HALF + within % HALF

    def pack(self, native: NativeBackend, rows: Tensor, first: int) -> None:
        """Take rows (count, in_features) of a checkpoint as the columns from `first` on."""
        rows = rows.contiguous()
        half = self.columns // 2
        part = first // half if self.is_gated else 0
        assert not self.is_gated or first % half + len(rows) <= half, "rows of gate and up come apart"
        native.pack(
            PackJob(
                source=rows.data_ptr(),
                source_dtype=_SOURCES[rows.dtype],
                weight_dtype=self.dtype,
                rows=len(rows),
                in_features=self.in_features,
                first_row=first % half if self.is_gated else first,
                half_stride=2 if self.is_gated else 1,
                half_offset=part,
                panels=self.panels.data_ptr(),
                scales=None if self.scales is None else self.scales.data_ptr(),
            )
        )


class WeightMemory:
    """Memory that weights are packed into: zeros, in huge pages where the system has them, because every step reads it
    all."""

    def __init__(self) -> None:
        self._chunk = torch.empty(0, dtype=torch.uint8)
        self._used = 0

    def take(self, num_bytes: int) -> Tensor:
        """(num_bytes,) uint8, at the start of a cache line."""
        if self._used + num_bytes > len(self._chunk):
            self._chunk, self._used = _mapped(max(num_bytes, _CHUNK_BYTES)), 0
        taken = self._chunk[self._used : self._used + num_bytes]
        self._used += -(-num_bytes // 64) * 64
        return taken

    def packed(self, columns: int, in_features: int, dtype: Dtype, is_gated: bool = False) -> PackedWeight:
        """Room for one product's weights."""
        padded = padded_columns(columns, is_gated)
        numbers = padded * in_features
        num_bytes = {Dtype.FP32: 4 * numbers, Dtype.BF16: 2 * numbers, Dtype.INT8: numbers, Dtype.INT4: numbers // 2}
        scale_bytes = {Dtype.INT8: 4 * padded, Dtype.INT4: 2 * numbers // INT4_GROUP}.get(dtype)
        scales = None if scale_bytes is None else self.take(scale_bytes)
        return PackedWeight(self.take(num_bytes[dtype]), scales, dtype, columns, in_features, is_gated)


def padded_columns(columns: int, is_gated: bool) -> int:
    """Columns of whole panels; each half of a gated pair is padded for itself."""
    return 2 * -(-(columns // 2) // PANEL) * PANEL if is_gated else -(-columns // PANEL) * PANEL


def _mapped(num_bytes: int) -> Tensor:
    memory = mmap.mmap(-1, num_bytes)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.uint8)
