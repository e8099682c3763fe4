"""Who gives way when blocks or seats run out. Pure."""

from collections.abc import Iterable

from pagelet_engine.core.sample import Sample, Seat

MAX_PREEMPTIONS = 3
"""A sample that has given way so often comes back with all the blocks that it can ever need, and stays."""


def is_protected(sample: Sample) -> bool:
    return sample.preemptions >= MAX_PREEMPTIONS


def choose_victim(lowest_first: Iterable[Seat], near_end: int) -> Seat | None:
    """The lowest in rank that may be preempted; one with `near_end` tokens to go or fewer only if there is no other: it
    soon gives back more than it costs to let it finish."""
    last_resort = None
    for seat in lowest_first:
        if is_protected(seat.sample):
            continue
        if seat.sample.length_limit - seat.length > near_end:
            return seat
        last_resort = last_resort or seat
    return last_resort
