"""Preempted samples come back by copy or computed again, whichever is cheaper; and what the prefix cache would lose
lives on in host memory."""

import pytest
from pagelet_engine.core.step import BlockCopy, Tier
from pagelet_engine.core.victims import MAX_PREEMPTIONS

from .rig import Rig

DEPTHS = pytest.mark.parametrize("depth", [1, 2])


def moves(rig: Rig, source: Tier, destination: Tier) -> list[BlockCopy]:
    copies = [copy for step in rig.worker.submitted for copy in step.copies]
    return [copy for copy in copies if (copy.source_tier, copy.destination_tier) == (source, destination)]


def computed(rig: Rig, sample: int) -> int:
    return sum(segment.num_tokens for segment in rig.segments_of(sample))


def pressed(**settings) -> Rig:
    """Two requests that do not fit together: the second gives way."""
    rig = Rig(**{"num_blocks": 8, "num_host_blocks": 8, "prefix_caching": False, **settings})
    rig.add("old", 8, max_tokens=17)
    rig.add("young", 8, max_tokens=17)
    rig.until(rig.preempted(times=1))
    return rig


@DEPTHS
def test_a_preempted_sample_is_copied_and_computes_nothing_twice(depth):
    rig = pressed(depth=depth)
    rig.drain()
    assert moves(rig, Tier.DEVICE, Tier.HOST)
    assert moves(rig, Tier.HOST, Tier.DEVICE)
    again = depth - 1  # a step that was in flight when the seat was taken is for nobody
    assert computed(rig, 1) <= 8 + 16 + again
    assert rig.engine.load().host_blocks_in_use == 0


def test_what_costs_more_to_copy_is_computed_again():
    rig = pressed(copy_s=100.0, overlaps=False)
    rig.drain()
    assert not moves(rig, Tier.DEVICE, Tier.HOST)
    assert computed(rig, 1) > 8 + 16


def test_without_room_on_the_host_it_is_computed_again():
    rig = pressed(num_host_blocks=2)
    rig.drain()
    assert not moves(rig, Tier.DEVICE, Tier.HOST)


def test_preempted_samples_pin_no_more_than_the_device_has():
    rig = Rig(num_blocks=12, num_host_blocks=100, prefix_caching=False)
    for number in range(6):
        rig.add(str(number), 12, max_tokens=20)
    highest = 0
    while rig.engine.has_work:
        rig.step()
        highest = max(highest, rig.engine.load().host_blocks_in_use)
    assert 0 < highest <= 12


def test_a_block_that_others_hold_is_not_copied_but_found_by_name():
    rig = Rig(num_blocks=12, num_host_blocks=12)
    shared = tuple(range(16))
    rig.add("old", (*shared, 100), max_tokens=20)
    rig.step()
    rig.add("young", (*shared, 200), max_tokens=20)
    rig.until(rig.preempted(times=1))
    rig.step()
    saved = {copy.source for copy in moves(rig, Tier.DEVICE, Tier.HOST)}
    (old,) = rig.scheduler._seating.running
    assert saved
    assert not saved & set(old.tables[0][:4]), "its first blocks are the other's as well"
    rig.drain()


def test_an_aborted_sample_leaves_nothing_on_the_host():
    rig = pressed()
    rig.engine.abort("young")
    rig.drain()
    assert rig.engine.load().host_blocks_in_use == 0


def test_a_group_of_samples_is_saved_and_comes_back():
    rig = Rig(num_blocks=10, num_host_blocks=10)
    rig.add("old", 8, max_tokens=20)
    rig.add("group", 8, n=3, temperature=1.0, max_tokens=12)
    rig.drain()
    assert rig.engine.load().preemptions


def test_after_the_limit_nobody_has_to_give_way_again():
    rig = Rig(max_num_seqs=1, num_host_blocks=50)
    rig.add("lazy", 8, max_tokens=40)
    for number in range(MAX_PREEMPTIONS + 2):
        rig.steps(3)
        rig.add(f"urgent {number}", 8, priority=1, max_tokens=2)
    rig.drain()
    assert rig.engine.load().preemptions == MAX_PREEMPTIONS
    assert rig.finishing.index("lazy") == MAX_PREEMPTIONS


def test_a_more_urgent_request_takes_a_seat():
    rig = Rig(max_num_seqs=1, num_host_blocks=50)
    rig.add("lazy", 8, max_tokens=30)
    rig.steps(3)
    rig.add("urgent", 8, priority=1, max_tokens=2)
    rig.drain()
    assert rig.finishing == ["urgent", "lazy"]
    assert computed(rig, 0) == 8 + 29, "what it had said came back by copy"


def test_a_prefix_that_the_device_lost_comes_from_the_host():
    rig = Rig(num_blocks=64, num_host_blocks=300)
    prompt = tuple(range(12))
    rig.add("first", prompt, max_tokens=1)
    rig.drain()
    for number in range(30):
        rig.add(f"other {number}", 24, max_tokens=1)
        rig.drain()
    hits = rig.engine.load().prefix_hits
    rig.add("again", prompt, max_tokens=1)
    rig.drain()
    assert rig.reports["again"].cached_tokens == 8
    assert rig.engine.load().prefix_hits == hits + 8
    assert moves(rig, Tier.HOST, Tier.DEVICE)


def test_the_host_keeps_nothing_that_is_cheaper_to_compute():
    rig = Rig(num_blocks=64, num_host_blocks=300, copy_s=100.0)
    for number in range(30):
        rig.add(str(number), 24, max_tokens=1)
        rig.drain()
    assert rig.engine.load().blocks_saved == 0
