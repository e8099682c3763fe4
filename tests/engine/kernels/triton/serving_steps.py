"""python serving_steps.py: what compiles when steps of many sizes follow one another; prints it as JSON, step by step.

What varies from step to step: how many tokens, and where in the packed buffer their numbers lie.
"""

import json

import torch
from pagelet_engine.kernels.activation import Activation
from pagelet_engine.kernels.triton.block_copy import copy_blocks
from pagelet_engine.kernels.triton.compile_only import compiling
from pagelet_engine.kernels.triton.embedding import embedding
from pagelet_engine.kernels.triton.gated_activation import gated_activation
from pagelet_engine.kernels.triton.rms_norm import rms_norm
from pagelet_engine.kernels.triton.rope_kv_write import rope_kv_write
from pagelet_engine.kernels.triton.rotary import rotary

TOKENS_AND_OFFSETS = [(16, 0), (1, 1), (17, 3), (5, 2), (512, 7), (513, 16)]


def step(tokens: int, offset: int) -> None:
    """The ops around attention, of a model with hidden 1024 and heads of 128."""
    packed = torch.empty(4096, dtype=torch.int32)[offset:]
    token_ids, positions, token_slots = packed[: 3 * tokens].view(3, tokens)
    copy_blocks(torch.empty(4, 2, 16, 2, 8, 128, dtype=torch.bfloat16), packed[: 2 * tokens].view(tokens, 2))
    x = embedding(token_ids, torch.empty(100, 1024, dtype=torch.bfloat16), first_token=100 * (tokens % 3))
    rms_norm(x, torch.empty(1024), 1e-6)
    angles = rotary(positions, torch.empty(64))
    qkv = torch.empty(tokens, 32, 128, dtype=torch.bfloat16)
    kv = torch.empty(4, 16, 2, 8, 128, dtype=torch.bfloat16)
    rope_kv_write(qkv, angles, positions, token_slots, torch.empty(64, 512, dtype=torch.int32), kv)
    rms_norm(x, torch.empty(1024), 1e-6, x)
    gated_activation(torch.empty(tokens, 6144, dtype=torch.bfloat16), Activation.SILU)


if __name__ == "__main__":
    found = []
    with compiling("sm_90") as compiled:
        for tokens, offset in TOKENS_AND_OFFSETS:
            before = len(compiled)
            step(tokens, offset)
            found.append([op.name for op in compiled[before:]])
    print(json.dumps(found))
