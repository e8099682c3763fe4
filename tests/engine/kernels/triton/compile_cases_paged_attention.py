"""Paged attention at the shapes of well-known models, for the targets that each says most about."""

from functools import partial

import torch
from pagelet_engine.kernels.triton.paged_attention import paged_attention

EVERYWHERE = ("sm_80", "sm_90", "sm_100", "gfx942")


def attend(
    heads: int,
    kv_heads: int,
    head_dim: int,
    *,
    tokens: int,
    dtype: torch.dtype = torch.bfloat16,
    window: int | None = None,
    soft_cap: float = 0.0,
    fp8: bool = False,
    num_splits: int = 1,
) -> None:
    """One sequence of `tokens` new tokens; of the pool, as many blocks as a real one (nothing touches them)."""
    num_blocks, block_size, slots = 8192, 16, 64
    kv_dtype = torch.float8_e4m3fn if fp8 else dtype
    qkv = torch.empty(tokens, heads + 2 * kv_heads, head_dim, dtype=dtype)
    paged_attention(
        qkv[:, :heads],
        torch.empty(num_blocks, 2, block_size, 2, kv_heads, head_dim, dtype=kv_dtype)[:, 1],
        torch.empty(slots, 512, dtype=torch.int32),
        torch.empty(2, dtype=torch.int32),
        torch.empty(1, dtype=torch.int32),
        torch.empty(1, dtype=torch.int32),
        scale=head_dim**-0.5,
        max_query_len=tokens,
        window=window,
        soft_cap=soft_cap,
        kv_scales=torch.empty(num_blocks, 2, block_size, 2, kv_heads)[:, 1] if fp8 else None,
        num_splits=num_splits,
    )


CASES = {
    "Llama 3 8B, decode": (partial(attend, 32, 8, 128, tokens=1), EVERYWHERE),
    "Llama 3 8B, prefill": (partial(attend, 32, 8, 128, tokens=512), EVERYWHERE),
    "Llama 3 8B, split decode": (partial(attend, 32, 8, 128, tokens=1, num_splits=16), EVERYWHERE),
    "Llama 3 8B, decode, fp8 cache": (partial(attend, 32, 8, 128, tokens=1, fp8=True), ("sm_90", "sm_100", "gfx942")),
    "Llama 3 8B, prefill, fp8 cache": (partial(attend, 32, 8, 128, tokens=512, fp8=True), ("sm_90", "sm_100")),
    "Qwen 3 0.6B, short chunks": (partial(attend, 16, 8, 128, tokens=16), ("sm_90",)),
    "Mistral 7B, prefill": (partial(attend, 32, 8, 128, tokens=512, window=4096), ("sm_90",)),
    "Gemma 3, decode": (partial(attend, 4, 1, 256, tokens=1, window=512, soft_cap=50.0), ("sm_90",)),
    "Gemma 3, prefill": (partial(attend, 4, 1, 256, tokens=512, window=512, soft_cap=50.0), ("sm_80", "sm_90")),
    "SmolLM 2 135M, prefill": (partial(attend, 9, 3, 64, tokens=512, dtype=torch.float16), ("sm_90",)),
    "Phi 2, prefill": (partial(attend, 32, 32, 80, tokens=512, dtype=torch.float16), ("sm_90",)),
    "Phi 3 mini, prefill": (partial(attend, 32, 32, 96, tokens=512), ("sm_80",)),
}
