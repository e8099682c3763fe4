"""Who gives way: the lowest in rank, unless it soon ends or has done so too often."""

from itertools import count

from pagelet_engine.core.request import Request
from pagelet_engine.core.sample import RequestInProgress, Seat
from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.victims import MAX_PREEMPTIONS, choose_victim


def seat(to_go: int, preemptions: int = 0) -> Seat:
    """Of a sample that has `to_go` tokens left to draw."""
    request = Request("id", (1, 2, 3), SamplingParams(max_tokens=to_go))
    (sample,) = RequestInProgress(request, 0, count(), max_length=1000, root=b"", tenant="").samples
    sample.preemptions = preemptions
    return Seat(sample, 0, [[]], 0, 0)


def test_the_lowest_gives_way():
    lowest, higher = seat(100), seat(100)
    assert choose_victim([lowest, higher], near_end=16) is lowest


def test_one_near_its_end_is_let_finish():
    ending, higher = seat(16), seat(17)
    assert choose_victim([ending, higher], near_end=16) is higher


def test_if_all_are_near_their_end_the_lowest_gives_way_after_all():
    lowest, higher = seat(3), seat(2)
    assert choose_victim([lowest, higher], near_end=16) is lowest


def test_nobody_gives_way_more_often_than_the_limit():
    worn, higher = seat(100, MAX_PREEMPTIONS), seat(100, MAX_PREEMPTIONS - 1)
    assert choose_victim([worn, higher], near_end=16) is higher
    assert choose_victim([worn], near_end=16) is None
