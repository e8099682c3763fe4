"""The structs of native/abi.h, field by field, and the functions over them: nothing else knows their layout."""

import ctypes
from ctypes import POINTER, Structure, c_char_p, c_double, c_float, c_int32, c_int64, c_void_p
from enum import IntEnum

ABI_VERSION = 3


class Dtype(IntEnum):
    FP32 = 0
    BF16 = 1
    INT8 = 2
    INT4 = 3
    FP16 = 4
    """Of a checkpoint's tensors alone."""


class OpKind(IntEnum):
    EMBEDDING = 0
    ROTARY = 1
    RMS_NORM = 2
    LINEAR = 3
    ROPE_KV_WRITE = 4
    PAGED_ATTENTION = 5
    GATHER_ROWS = 6
    ARGMAX = 7


class Rows(IntEnum):
    """Which of a step's counts says how many rows an op has."""

    TOKENS = 0
    SAMPLED = 1


class Epilogue(IntEnum):
    PLAIN = 0
    SILU_MUL = 1


class Op(Structure):
    _fields_ = (("kind", c_int32), ("rows", c_int32), ("dtype", c_int32), ("reserved", c_int32))


class EmbeddingOp(Structure):
    _fields_ = (("op", Op), ("table", c_void_p), ("out", c_void_p), ("hidden", c_int64), ("vocab", c_int64))


class RotaryOp(Structure):
    _fields_ = (("op", Op), ("inverse_frequencies", c_void_p), ("out", c_void_p), ("head_dim", c_int64))


class RmsNormOp(Structure):
    _fields_ = (
        ("op", Op),
        ("x", c_void_p),
        ("weight", c_void_p),
        ("out", c_void_p),
        ("hidden", c_int64),
        ("eps", c_float),
        ("reserved", c_int32),
    )


class LinearOp(Structure):
    _fields_ = (
        ("op", Op),
        ("x", c_void_p),
        ("weight", c_void_p),
        ("scales", c_void_p),
        ("bias", c_void_p),
        ("residual", c_void_p),
        ("out", c_void_p),
        ("in_features", c_int64),
        ("columns", c_int64),
        ("weight_dtype", c_int32),
        ("epilogue", c_int32),
        ("wide_out", c_int32),
        ("reserved", c_int32),
    )


class KvLayer(Structure):
    _fields_ = (
        ("pages", c_void_p),
        ("page_stride", c_int64),
        ("block_size", c_int64),
        ("group", c_int32),
        ("num_heads", c_int32),
        ("num_kv_heads", c_int32),
        ("head_dim", c_int32),
    )


class RopeKvWriteOp(Structure):
    _fields_ = (
        ("op", Op),
        ("kv", KvLayer),
        ("qkv", c_void_p),
        ("rotary", c_void_p),
        ("q_norm", c_void_p),
        ("k_norm", c_void_p),
        ("eps", c_float),
        ("reserved", c_int32),
    )


class PagedAttentionOp(Structure):
    _fields_ = (
        ("op", Op),
        ("kv", KvLayer),
        ("qkv", c_void_p),
        ("out", c_void_p),
        ("scale", c_float),
        ("soft_cap", c_float),
    )


class GatherRowsOp(Structure):
    _fields_ = (("op", Op), ("x", c_void_p), ("out", c_void_p), ("hidden", c_int64))


class ArgmaxOp(Structure):
    _fields_ = (("op", Op),)


class Program(Structure):
    _fields_ = (("ops", POINTER(c_void_p)), ("num_ops", c_int64), ("num_plans", c_int64))


class GroupStep(Structure):
    _fields_ = (
        ("block_tables", c_void_p),
        ("num_slots", c_int64),
        ("table_stride", c_int64),
        ("block_size", c_int64),
        ("window", c_int64),
    )


class Step(Structure):
    _fields_ = (
        ("num_tokens", c_int64),
        ("num_sequences", c_int64),
        ("num_sampled", c_int64),
        ("token_ids", c_void_p),
        ("starts", c_void_p),
        ("lengths", c_void_p),
        ("slots", c_void_p),
        ("sampled_rows", c_void_p),
        ("groups", POINTER(GroupStep)),
        ("num_groups", c_int64),
        ("logits", c_void_p),
        ("argmax", c_void_p),
        ("is_finite", c_void_p),
    )


class PackJob(Structure):
    _fields_ = (
        ("source", c_void_p),
        ("source_dtype", c_int32),
        ("weight_dtype", c_int32),
        ("rows", c_int64),
        ("in_features", c_int64),
        ("first_row", c_int64),
        ("half_stride", c_int64),
        ("half_offset", c_int64),
        ("panels", c_void_p),
        ("scales", c_void_p),
    )


class DrawRow(Structure):
    _fields_ = (
        ("logits", c_void_p),
        ("uniform", c_double),
        ("temperature", c_float),
        ("top_p", c_float),
        ("min_p", c_float),
        ("top_k", c_int64),
        ("token", c_int64),
        ("is_finite", c_int32),
        ("reserved", c_int32),
    )


class LogprobRow(Structure):
    _fields_ = (
        ("logits", c_void_p),
        ("token", c_int64),
        ("num_top", c_int64),
        ("log_sum_exp", c_float),
        ("token_logit", c_float),
        ("rank", c_int64),
        ("top_tokens", c_void_p),
        ("top_logits", c_void_p),
    )


def declare(library: ctypes.CDLL) -> None:
    """Give the library's functions their types."""
    backend = c_void_p
    library.pagelet_abi_version.restype = c_int32
    library.pagelet_levels.restype = c_char_p
    library.pagelet_open.restype = c_char_p
    library.pagelet_open.argtypes = [c_char_p, c_int32, POINTER(backend)]
    library.pagelet_close.argtypes = [backend]
    library.pagelet_close.restype = None
    library.pagelet_run.restype = c_char_p
    library.pagelet_run.argtypes = [backend, POINTER(Program), POINTER(Step)]
    library.pagelet_pack.argtypes = [backend, POINTER(PackJob)]
    library.pagelet_pack.restype = None
    for name, row in (("pagelet_draw", DrawRow), ("pagelet_logprobs", LogprobRow)):
        function = getattr(library, name)
        function.argtypes = [backend, POINTER(row), c_int64, c_int64]
        function.restype = None
