"""RoPE and cache write at the heads of well-known models."""

from functools import partial

import torch
from pagelet_engine.kernels.triton.rope_kv_write import rope_kv_write


def write(heads: int, kv_heads: int, head_dim: int, *, norm: bool = False, fp8: bool = False) -> None:
    """Three tokens, whose numbers lie in a packed buffer."""
    packed = torch.empty(8, dtype=torch.int32)
    dtype = torch.float8_e4m3fn if fp8 else torch.bfloat16
    norm_weight = torch.empty(head_dim) if norm else None
    rope_kv_write(
        torch.empty(3, heads + 2 * kv_heads, head_dim, dtype=torch.bfloat16),
        torch.empty(3, 2, head_dim // 2),
        packed[1:4],
        packed[4:7],
        torch.empty(64, 512, dtype=torch.int32),
        torch.empty(64, 2, 16, 2, kv_heads, head_dim, dtype=dtype)[:, 1],
        torch.empty(64, 2, 16, 2, kv_heads)[:, 1] if fp8 else None,
        norm_weight,
        norm_weight,
        1e-6,
    )


CASES = {
    "RoPE, Llama 3 8B": (partial(write, 32, 8, 128), ("sm_90", "gfx942")),
    "RoPE, Qwen 3, fp8 cache": (partial(write, 16, 8, 128, norm=True, fp8=True), ("sm_90", "sm_100")),
    "RoPE, Gemma 3": (partial(write, 4, 1, 256, norm=True), ("sm_80",)),
}
