"""A step whose numbers lie outside of what it names is a sentence, not a fault in memory."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from pagelet_engine.kernels.cpu.abi import Dtype, Step
from pagelet_engine.kernels.cpu.ops import CpuOps
from pagelet_engine.kernels.cpu.tape import record
from pagelet_engine.kernels.cpu.weights import WeightMemory

from tests.engine.kernels.cpu.conftest import Cache, HeldStep, Sequence_, step_of

BLOCK_SIZE = 16


def attend(ops: CpuOps, held: HeldStep) -> None:
    """One step of two heads."""
    cache = Cache(2, 1, 16, BLOCK_SIZE, torch.float32)
    qkv = torch.zeros(held.step.num_tokens, 4, 16)
    rotary = ops.rotary(held.step, torch.ones(8))
    ops.rope_kv_write(held.step, qkv, rotary, cache.layer())
    ops.paged_attention(held.step, qkv, cache.layer(), 1.0)


def changed(name: str, value: int) -> Callable[[HeldStep], None]:
    """The second sequence's number of this name."""
    return lambda held: getattr(held, name).__setitem__(1, value)


def more_tokens(held: HeldStep) -> None:
    held.step.num_tokens += 1


def no_groups(held: HeldStep) -> None:
    held.step.num_groups = 0


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (changed("slots", 2), "slot of sequence 1: wanted 0 to 1, found 2"),
        (changed("slots", -1), "slot of sequence 1: wanted 0 to 1, found -1"),
        (changed("starts", 30), "start of sequence 1: wanted 0 to 29, found 30"),
        (changed("starts", -1), "start of sequence 1: wanted 0 to 29, found -1"),
        (changed("lengths", 0), "length of sequence 1: wanted at least 1, found 0"),
        (changed("lengths", 2), "the sequences have 22 tokens, the step 23"),
        (more_tokens, "the sequences have 23 tokens, the step 24"),
        (no_groups, "the program reads the plans of 1 KV groups, the step has 0"),
    ],
)
def test_sequences_outside_of_their_block_tables_are_refused_with_the_numbers(ops, spoil, sentence):
    held = step_of([Sequence_(0, 20, (5, 1)), Sequence_(0, 3, (7,))], BLOCK_SIZE)
    attend(ops, held)
    spoil(held)
    with pytest.raises(AssertionError, match=sentence):
        attend(ops, held)


def test_a_token_outside_of_the_vocabulary_is_refused(ops):
    table = WeightMemory().packed(40, 32, Dtype.FP32)
    held = step_of([Sequence_(0, 3, (0,))], BLOCK_SIZE, token_ids=[1, 39, 40])
    with pytest.raises(AssertionError, match="token 2: wanted 0 to 39, found 40"):
        ops.embedding(held.step, table, torch.float32)


def test_a_row_that_is_no_token_of_the_step_is_refused(ops):
    x = torch.zeros(3, 32)

    def on(tape):
        with ops.recording(tape):
            return 0, (ops.gather_rows(x, 4),)

    rows = np.array([0, 3], np.int64)
    step = Step(num_tokens=3, num_sampled=2, sampled_rows=rows.ctypes.data)
    with pytest.raises(AssertionError, match="sampled row 1: wanted 0 to 2, found 3"):
        ops.native.run(record(on, x).whole, step)
