"""The ops under the names that `reference` gives them, on torch tensors: computed at once, or taken down on a tape.

Shapes and formulas are those of `reference`; here only what differs is said. What a step brings (token ids, positions,
block tables) is in `abi.Step`, and a layer's cache is named by its pages.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import Structure

import torch
from torch import Tensor

from pagelet_engine.kernels.cpu import abi
from pagelet_engine.kernels.cpu.abi import Dtype, Epilogue, KvLayer, Op, OpKind, Rows, Step
from pagelet_engine.kernels.cpu.library import NativeBackend, OpList
from pagelet_engine.kernels.cpu.tape import Tape
from pagelet_engine.kernels.cpu.weights import NATIVE_DTYPES, PackedWeight


class CpuOps:
    def __init__(self, native: NativeBackend) -> None:
        self.native = native
        self._tape: Tape | None = None

    @contextmanager
    def recording(self, tape: Tape) -> Iterator[None]:
        """Compute nothing: take ops down on the tape, as long as this lasts."""
        self._tape = tape
        try:
            yield
        finally:
            self._tape = None

    def embedding(self, step: Step, table: PackedWeight, dtype: torch.dtype) -> Tensor:
        """→ (tokens, hidden): the columns of a table in panels."""
        out = self._new((step.num_tokens, table.in_features), dtype)
        op = abi.EmbeddingOp(
            self._op(OpKind.EMBEDDING, dtype), table.panels.data_ptr(), out.data_ptr(), table.in_features, table.columns
        )
        self._emit(op, (), step)
        return out

    def rotary(self, step: Step, inverse_frequencies: Tensor) -> Tensor:
        """→ (tokens, head_dim) fp32: cos, then sin."""
        out = self._new((step.num_tokens, 2 * len(inverse_frequencies)), torch.float32)
        op = abi.RotaryOp(
            self._op(OpKind.ROTARY, torch.float32), inverse_frequencies.data_ptr(), out.data_ptr(), out.shape[1]
        )
        self._emit(op, (), step)
        return out

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        out = self._new(x.shape, x.dtype)
        op = abi.RmsNormOp(
            self._op(OpKind.RMS_NORM, x.dtype), x.data_ptr(), weight.data_ptr(), out.data_ptr(), x.shape[1], eps
        )
        self._emit(op, (x,))
        return out

    def linear(
        self, x: Tensor, weight: PackedWeight, bias: Tensor | None = None, residual: Tensor | None = None
    ) -> Tensor:
        """bias fp32, padded to whole panels. A gated weight gives silu(gate) · up."""
        out = self._new((len(x), weight.columns // 2 if weight.is_gated else weight.columns), x.dtype)
        reads = (x,) if residual is None else (x, residual)
        self._emit(self._linear(x, weight, out, bias=bias, residual=residual), reads)
        return out

    def head_logits(self, x: Tensor, weight: PackedWeight) -> Tensor:
        """→ (rows, vocab) fp32. On a tape the step says whether and where logits are written, and the largest of each
        row is kept in any case."""
        if self._tape is None:
            logits = torch.empty(len(x), weight.columns, dtype=torch.float32)
            op = self._linear(x, weight, None, rows=Rows.SAMPLED)
            self._emit(op, (x,), Step(num_sampled=len(x), logits=logits.data_ptr()))
            return logits
        self._emit(self._linear(x, weight, None), (x,))
        self._emit(abi.ArgmaxOp(self._op(OpKind.ARGMAX, x.dtype)), ())
        return torch.empty(0, weight.columns)

    def gather_rows(self, x: Tensor, capacity: int) -> Tensor:
        """On a tape: the rows that a token is drawn from, `capacity` at most. What is recorded from now on is about
        them."""
        assert self._tape is not None, "rows are gathered by index where nothing is recorded"
        self._tape.rows = Rows.SAMPLED
        out = self._new((capacity, x.shape[1]), x.dtype)
        op = abi.GatherRowsOp(self._op(OpKind.GATHER_ROWS, x.dtype), x.data_ptr(), out.data_ptr(), x.shape[1])
        self._emit(op, (x,))
        return out

    def rope_kv_write(
        self,
        step: Step,
        qkv: Tensor,
        rotary: Tensor,
        kv: KvLayer,
        q_norm: Tensor | None = None,
        k_norm: Tensor | None = None,
        norm_eps: float = 0.0,
    ) -> None:
        """Queries are rotated where they are; keys and values go to the cache alone. q_norm, k_norm (head_dim,) fp32:
        heads are normalised first; both or neither."""
        op = abi.RopeKvWriteOp(
            self._op(OpKind.ROPE_KV_WRITE, qkv.dtype),
            kv,
            qkv.data_ptr(),
            rotary.data_ptr(),
            _address(q_norm),
            _address(k_norm),
            norm_eps,
        )
        self._emit(op, (qkv, rotary), step)

    def paged_attention(self, step: Step, qkv: Tensor, kv: KvLayer, scale: float, soft_cap: float = 0.0) -> Tensor:
        """Of qkv (tokens, heads + 2 × kv_heads, head_dim) only the queries are read → (tokens, heads × head_dim)."""
        out = self._new((len(qkv), kv.num_heads * kv.head_dim), qkv.dtype)
        op = abi.PagedAttentionOp(
            self._op(OpKind.PAGED_ATTENTION, qkv.dtype), kv, qkv.data_ptr(), out.data_ptr(), scale, soft_cap
        )
        self._emit(op, (qkv,), step)
        return out

    def _linear(
        self,
        x: Tensor,
        weight: PackedWeight,
        out: Tensor | None,
        *,
        bias: Tensor | None = None,
        residual: Tensor | None = None,
        rows: Rows | None = None,
    ) -> abi.LinearOp:
        return abi.LinearOp(
            op=self._op(OpKind.LINEAR, x.dtype, rows),
            x=x.data_ptr(),
            weight=weight.panels.data_ptr(),
            scales=_address(weight.scales),
            bias=_address(bias),
            residual=_address(residual),
            out=_address(out),
            in_features=weight.in_features,
            columns=weight.columns,
            weight_dtype=weight.dtype,
            epilogue=Epilogue.SILU_MUL if weight.is_gated else Epilogue.PLAIN,
            wide_out=out is None,
        )

    def _op(self, kind: OpKind, dtype: torch.dtype, rows: Rows | None = None) -> Op:
        if rows is None:
            rows = Rows.TOKENS if self._tape is None else self._tape.rows
        return Op(kind, rows, NATIVE_DTYPES.get(dtype, Dtype.FP32))

    def _new(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return torch.empty(*shape, dtype=dtype) if self._tape is None else self._tape.new(tuple(shape), dtype)

    def _emit(self, op: Structure, reads: Sequence[Tensor], step: Step | None = None) -> None:
        if self._tape is not None:
            self._tape.append(op, reads)
        else:
            self.native.run(OpList((op,)), step or Step(num_tokens=len(reads[0])))


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
