"""Who names a step's arrays holds them, and with poison a reader that comes too late sees it."""

import ctypes

import numpy as np
import torch
from pagelet_engine.kernels.cpu.abi import Step
from pagelet_engine.kernels.row_status import RowStatus
from pagelet_engine.worker.local.step_buffers import POISON, StepBuffers


def buffers(*, poisons: bool) -> StepBuffers:
    tables = np.zeros((4, 2), np.int64)
    return StepBuffers([tables], [0], 16, max_tokens=8, max_rows=3, vocab_size=5, poisons=poisons)


def filled(own: StepBuffers) -> Step:
    """A step of two sequences."""
    sequences = np.array([(0, 2, 3), (7, 1, 0)], np.int64)
    return own.fill(np.array([5, 6, 7], np.int64), sequences, [1, 2], with_logits=True)


def numbers(address: int, count: int) -> list[int]:
    """What a step's pointer finds."""
    return list((ctypes.c_int64 * count).from_address(address))


def test_a_step_finds_what_was_filled_in():
    own = buffers(poisons=False)
    step = filled(own)
    assert (step.num_tokens, step.num_sequences, step.num_sampled) == (3, 2, 2)
    assert numbers(step.token_ids, 3) == [5, 6, 7]
    assert [numbers(each, 2) for each in (step.starts, step.lengths, step.slots)] == [[0, 7], [2, 1], [3, 0]]
    assert numbers(step.sampled_rows, 2) == [1, 2]
    group = step.groups[0]
    assert (group.num_slots, group.table_stride, group.block_size, group.window) == (4, 2, 16, 0)


def test_the_next_step_and_other_rows_of_this_one_lie_where_the_first_lay():
    own = buffers(poisons=False)
    addresses = [(step.token_ids, step.starts, step.slots, step.sampled_rows) for step in (filled(own), filled(own))]
    step = own.fill_rows([0])
    assert {*addresses, (step.token_ids, step.starts, step.slots, step.sampled_rows)} == {addresses[0]}
    assert (step.num_tokens, step.num_sampled, numbers(step.sampled_rows, 1)) == (3, 1, [0])


def test_poison_is_all_that_is_left_of_a_step_that_has_ended():
    own = buffers(poisons=True)
    step = filled(own)
    own.logits.fill_(1.0)
    own.end()
    lengths = {step.token_ids: 8, step.starts: 4, step.lengths: 4, step.slots: 4, step.sampled_rows: 3}
    assert all(numbers(address, length) == [POISON] * length for address, length in lengths.items())
    assert (own.logits == 1).all()  # results are read after a step: until the next one
    own.fill_rows([0])
    assert own.logits.isnan().all()
    assert (own.status == RowStatus.NON_FINITE).all()
    assert (own.tokens == torch.tensor(POISON)).all()
