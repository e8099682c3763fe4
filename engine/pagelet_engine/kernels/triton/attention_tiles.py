"""How attention's work is cut into programs: tile sizes, and splits of long contexts. Pure functions of what the host
knows; refuses to know how long any sequence is now.
"""

from dataclasses import dataclass

import triton

from pagelet_engine.kernels.triton.target import Target

_SPLIT_KEYS = 256
"""A split shorter than this costs more to merge than it saves."""
_MOST_SPLITS = 64


@dataclass(frozen=True, slots=True)
class Tiles:
    rows: int
    """Rows of a query tile: tokens × heads of one group, padded to a power of two."""
    keys: int
    """Keys of a tile."""
    num_warps: int
    num_stages: int


def choose_tiles(
    head_dim: int, group_size: int, query_bytes: int, kv_bytes: int, max_query_len: int, target: Target
) -> Tiles:
    """Tiles for a step whose longest query has `max_query_len` tokens.

    query_bytes, kv_bytes: bytes of one number of the query, of the cache.

    Decodes want many bytes in flight, few rows and two programs a multiprocessor; prompts want wide tiles, which fill
    the tensor cores' largest shapes (64 rows for each four warps on Hopper).
    """
    dim = triton.next_power_of_2(head_dim)
    keys = min(8192 // dim, 128) // (2 if query_bytes == 4 else 1)
    fewest = max(16, triton.next_power_of_2(group_size))
    # fp32 has no tensor core of its own precision: more rows would spill registers.
    widest = fewest if query_bytes == 4 else 64 if dim > 128 or target.backend == "hip" else 128
    most_stages = 2 if target.backend == "hip" else 3
    if max_query_len == 1 or widest <= fewest:
        fitting = (target.shared_bytes // 2 - fewest * dim * query_bytes) // (2 * keys * dim * kv_bytes)
        # All stages but one hold a tile of keys and values.
        return Tiles(fewest, keys, 4, max(1, min(most_stages, fitting + 1)))
    rows = widest if max_query_len * group_size > 64 else max(fewest, 64)
    # The second product over an fp8 cache has registers of its own, which 64 keys of 128 numbers would spill.
    keys = min(keys, 32 if kv_bytes < query_bytes and dim > 64 else 64)
    # Where four warps share one matrix instruction, their operands lie in shared memory, and leave registers free.
    shared_operands = target.arch in (90, 100, 103)
    num_warps = 8 if (dim > 128 and not shared_operands) or (dim == 128 and rows == 128) else 4
    fitting = (target.shared_bytes - rows * dim * query_bytes) // (2 * keys * dim * kv_bytes)
    return Tiles(rows, keys, num_warps, max(1, min(most_stages, fitting)))


def choose_splits(num_seqs: int, kv_heads: int, max_context: int, num_sms: int) -> int:
    """Programs that share one sequence's keys, for decodes of up to `max_context` tokens.

    num_sms: multiprocessors of the GPU (compute units on AMD).

    Two programs run at a time on each, and two rounds of them keep the last ones' tail short.
    """
    wanted = 4 * num_sms // max(1, num_seqs * kv_heads)
    return max(1, min(wanted, -(-max_context // _SPLIT_KEYS), _MOST_SPLITS))
