"""Which models the ops can compute. Pure."""

import torch
from pagelet_api.sizes import ModelShape

from pagelet_engine.kernels.cpu.weights import NATIVE_DTYPES

KEYS = 16
"""Tokens whose keys lie side by side: a block holds a multiple of them."""
MOST_GROUP_HEADS = 256


def why_not(shape: ModelShape, dtype: torch.dtype, block_size: int) -> str | None:
    """One sentence about what the ops cannot compute; None: all of it."""
    if dtype not in NATIVE_DTYPES:
        names = " or ".join(str(each).removeprefix("torch.") for each in NATIVE_DTYPES)
        return f"the C++ ops want dtype {names}, found {str(dtype).removeprefix('torch.')}"
    lacking = {
        "experts": bool(shape.expert_layers),
        "norms behind attention and MLP": shape.post_norms,
    }
    if wanted := [what for what, is_wanted in lacking.items() if is_wanted]:
        return f"the C++ ops have no {' and no '.join(wanted)}"
    if block_size % KEYS:
        return f"the C++ ops want a blockSize that is a multiple of {KEYS}, found {block_size}"
    if shape.head_dim % 16:
        return f"the C++ ops want a head_dim that is a multiple of 16, found {shape.head_dim}"
    inputs = (shape.hidden_size, shape.intermediate_size)
    if any(each % 2 for each in inputs):
        return f"the C++ ops want even hidden and intermediate sizes, found {inputs[0]} and {inputs[1]}"
    if (group := shape.num_heads // shape.num_kv_heads) > MOST_GROUP_HEADS:
        return f"the C++ ops want at most {MOST_GROUP_HEADS} heads a KV head, found {group}"
    return None
