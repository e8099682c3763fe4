"""RoPE and cache write: how near it comes to moving its bytes once."""

from collections.abc import Callable, Iterator

import torch
from gpu.timing import Row, device_peaks, rotation, seconds_a_call
from pagelet_engine.kernels.triton.rope_kv_write import rope_kv_write

BLOCK_SIZE, HEAD_DIM = 16, 128
HEADS = {"Llama 3 8B": (32, 8, False), "Qwen 3 0.6B": (16, 8, True)}  # heads, kv_heads, norms
TOKENS = (1, 32, 256, 8192)


def measure() -> Iterator[Row]:
    peaks = device_peaks()
    for name, (heads, kv_heads, norms) in HEADS.items():
        for tokens in TOKENS:
            # Queries are read and written, keys and values read and written elsewhere, angles read.
            num_bytes = tokens * (2 * 2 * (heads + 2 * kv_heads) * HEAD_DIM + 4 * HEAD_DIM)
            calls = [_call(tokens, heads, kv_heads, norms) for _ in range(rotation(num_bytes))]
            case = f"{name}, {tokens} tokens"
            yield Row.of_bytes("rope_kv_write", case, seconds_a_call(calls), num_bytes, peaks)


def _call(tokens: int, heads: int, kv_heads: int, norms: bool) -> Callable[[], None]:
    """Every token decodes a sequence of its own, or they are one chunk when there are many."""
    decode = tokens <= 256
    num_blocks = tokens if decode else tokens // BLOCK_SIZE
    tables = torch.randperm(num_blocks, dtype=torch.int32, device="cuda").view(tokens if decode else 1, -1)
    counted = torch.arange(tokens, dtype=torch.int32, device="cuda")
    positions, slots = (counted % BLOCK_SIZE, counted) if decode else (counted, torch.zeros_like(counted))
    qkv = torch.randn(tokens, heads + 2 * kv_heads, HEAD_DIM, dtype=torch.bfloat16, device="cuda")
    rotary = torch.rand(tokens, 2, HEAD_DIM // 2, device="cuda")
    kv = torch.empty(num_blocks, BLOCK_SIZE, 2, kv_heads, HEAD_DIM, dtype=torch.bfloat16, device="cuda")
    weight = torch.ones(HEAD_DIM, device="cuda") if norms else None
    return lambda: rope_kv_write(qkv, rotary, positions, slots, tables, kv, None, weight, weight, 1e-6)
