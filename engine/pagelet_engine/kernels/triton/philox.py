"""Philox4x32-10 in a kernel: bit by bit the numbers of kernels/reference/philox.py."""

import triton
import triton.language as tl


@triton.jit
def uniform(seed_low, seed_high, sample_index, position):
    """One number in [0, 1), fp64, for 32-bit words held in int32: key (seed_low, seed_high), counter (position, 0,
    sample_index, 0); the first word ÷ 2³²."""
    c0, c2 = position.to(tl.uint32, bitcast=True), sample_index.to(tl.uint32, bitcast=True)
    k0, k1 = seed_low.to(tl.uint32, bitcast=True), seed_high.to(tl.uint32, bitcast=True)
    c1 = c0 ^ c0
    c3 = c1
    first = tl.full([], 0xD2511F53, tl.uint32)
    second = tl.full([], 0xCD9E8D57, tl.uint32)
    first_step = tl.full([], 0x9E3779B9, tl.uint32)
    second_step = tl.full([], 0xBB67AE85, tl.uint32)
    for _ in tl.static_range(10):
        high0, low0 = tl.umulhi(first, c0), tl.mul(first, c0, sanitize_overflow=False)
        high2, low2 = tl.umulhi(second, c2), tl.mul(second, c2, sanitize_overflow=False)
        c0, c1, c2, c3 = high2 ^ c1 ^ k0, low2, high0 ^ c3 ^ k1, low0
        k0 = tl.add(k0, first_step, sanitize_overflow=False)
        k1 = tl.add(k1, second_step, sanitize_overflow=False)
    return c0.to(tl.float64) * (1.0 / 4294967296.0)
