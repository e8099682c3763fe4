"""Ranks that compare their block maps: a difference is found in the step in which it begins."""

import pytest
import torch
from pagelet_engine.worker.device.execution import MapMismatch, Rank, SlotState, checksum
from pagelet_engine.worker.device.header import Header
from pagelet_engine.worker.device.rehearsal import padding_header
from pagelet_engine.worker.device.sections import cut


class TwoRanks:
    """Implements `device.execution.Group`; the other rank's numbers are given."""

    rank, size = 1, 2

    def __init__(self, others: int) -> None:
        self.others = others

    def least(self, number: int) -> int:
        return min(number, self.others)


def nothing(*_: object) -> None:
    return None


class NoCopies:
    run = staticmethod(nothing)


def rank_of(tables: list[torch.Tensor], others: int) -> Rank:
    state = SlotState(tuple(tables), torch.zeros(3), torch.zeros(64, dtype=torch.int32))
    return Rank(nothing, TwoRanks(others), state, nothing, nothing, NoCopies(), compares_maps=True)


def compute(rank: Rank, step: Header) -> None:
    rank.compute(step, cut(rank.state.payload, step))


def test_the_rank_and_the_step_are_named():
    tables = [torch.arange(6, dtype=torch.int32).view(2, 3)]
    own = checksum(tables)
    step = padding_header(0, 0, 1, 1)
    compute(rank_of(tables, own), step)
    with pytest.raises(MapMismatch, match=f"step 0: rank 1 has another block map .* found {own}"):
        compute(rank_of(tables, own - 1), step)


def test_any_two_entries_changed_places_are_seen():
    table = torch.arange(12, dtype=torch.int32).view(3, 4)
    other = table.clone()
    other[0, 1], other[2, 3] = table[2, 3], table[0, 1]
    assert checksum([table]) != checksum([other])
    assert checksum([table, other]) != checksum([other, table])
