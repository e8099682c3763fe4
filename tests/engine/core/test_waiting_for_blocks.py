"""Requests that begin alike and arrive together: the first computes, the others wait for its blocks and share them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .rig import Rig

DEPTHS = pytest.mark.parametrize("depth", [1, 2])
SHARED = tuple(range(12))


def starts(rig: Rig, sample: int) -> int:
    """Where the sample's first segment starts."""
    return rig.segments_of(sample)[0].start


@DEPTHS
def test_thirty_two_requests_that_begin_alike_compute_their_beginning_once(depth):
    rig = Rig(depth=depth, block_size=16, num_blocks=1000, max_num_seqs=64, max_model_len=1000, max_batched_tokens=2048)
    for number in range(32):
        rig.add(f"{number}", (*range(512), *range(1000 * number, 1000 * number + 32)), max_tokens=4)
    rig.drain()
    assert [rig.reports[f"{number}"].cached_tokens for number in range(32)] == [0, *[512] * 31]
    prompts = [step.num_tokens for step in rig.worker.submitted if step.starts]
    assert sum(prompts) <= 512 + 32 * 32 + depth
    assert len(prompts) == 2, "the second step of prompts has all the others"


@DEPTHS
@pytest.mark.parametrize("budget", [3, 8, 100])
def test_a_long_beginning_in_chunks_is_computed_once_too(depth, budget):
    rig = Rig(depth=depth, max_batched_tokens=budget)
    for name in ("first", "second", "third"):
        rig.add(name, (*SHARED, len(name), 50), max_tokens=2)
    rig.drain()
    assert [starts(rig, sample) for sample in range(3)] == [0, 12, 12]


@DEPTHS
@pytest.mark.parametrize("after_steps", [0, 1])
def test_when_the_one_that_computes_is_aborted_the_next_takes_over(depth, after_steps):
    rig = Rig(depth=depth, max_batched_tokens=8)
    for name in ("first", "second", "third"):
        rig.add(name, (*SHARED, 50), max_tokens=2)
    rig.steps(after_steps)
    rig.engine.abort("first")
    rig.drain()
    assert starts(rig, 2) == 12, "the third still waits for the second"


@DEPTHS
def test_when_the_one_that_computes_is_preempted_nobody_waits_for_it(depth):
    rig = Rig(depth=depth, num_blocks=10, max_batched_tokens=2)
    rig.add("urgent", 4, priority=1, max_tokens=24)
    rig.until(lambda: len(rig.answers.get(("urgent", 0), ())) > 3)
    for name in ("first", "second"):
        rig.add(name, (*SHARED, *range(50, 55)), max_tokens=2)
    rig.until(rig.preempted(1))
    assert ("first", 0) not in rig.answers, "it was preempted within its prompt"
    rig.drain()


def test_what_is_little_is_not_worth_a_wait():
    rig = Rig(block_size=4)
    rig.add("first", (*SHARED[:4], *range(100, 140)))
    rig.add("second", (*SHARED[:4], *range(200, 240)))
    rig.step()
    assert rig.shares() == [(0, 44), (0, 44)]


@pytest.mark.parametrize("other", [{"cache_salt": "tenant"}, {"adapter": "poet"}, {"prompt_logprobs": 0}])
def test_nobody_waits_for_blocks_that_are_not_to_be_shared(other):
    rig = Rig()
    rig.add("first", SHARED)
    rig.add("second", SHARED, **other)
    rig.step()
    assert rig.shares() == [(0, 12), (0, 12)]


def test_nobody_waits_where_nothing_is_cached():
    rig = Rig(prefix_caching=False)
    rig.add("first", SHARED)
    rig.add("second", SHARED)
    rig.step()
    assert rig.shares() == [(0, 12), (0, 12)]


def test_others_go_on_meanwhile_and_leave_a_slot_to_each_that_waits():
    rig = Rig(max_num_seqs=3)
    rig.add("first", (*SHARED, 50))
    rig.add("waits", (*SHARED, 51))
    for name in ("other", "late"):
        rig.add(name, 5)
    rig.step()
    assert [segment.sample for segment in rig.last_step.segments] == [0, 2]
    rig.step()
    assert {segment.sample for segment in rig.last_step.segments} == {0, 1, 2}


def test_others_leave_blocks_to_each_that_waits():
    rig = Rig(num_blocks=12, block_size=4)
    rig.add("first", (*SHARED, 50), max_tokens=1)
    rig.add("waits", (*SHARED, 51), max_tokens=1)
    rig.add("large", 20, max_tokens=1)
    rig.step()
    assert [segment.sample for segment in rig.last_step.segments] == [0]
    rig.step()
    assert rig.last_step.segments[0].sample == 1


prompts = st.builds(
    lambda shared, rest: (*range(shared), *rest), st.integers(0, 24), st.lists(st.integers(50, 52), max_size=4)
).filter(bool)


@given(
    depth=st.integers(1, 2),
    num_blocks=st.integers(12, 60),
    budget=st.integers(1, 60),
    slots=st.integers(1, 8),
    arrivals=st.lists(st.tuples(prompts, st.integers(0, 3)), min_size=1, max_size=12),
    aborted=st.sets(st.integers(0, 11), max_size=3),
)
def test_whoever_waits_is_served(depth, num_blocks, budget, slots, arrivals, aborted):
    """No deadlock, no wrong block, no answer that differs: the rig proves these after every step."""
    rig = Rig(depth=depth, num_blocks=num_blocks, max_batched_tokens=budget, max_num_seqs=slots)
    for number, (prompt, steps) in enumerate(arrivals):
        rig.add(f"{number}", prompt, max_tokens=3)
        rig.steps(steps)
        if number in aborted:
            rig.engine.abort(f"{number // 2}")
    rig.drain()


@given(depth=st.integers(1, 2), shared=st.integers(4, 40), requests=st.integers(2, 8), budget=st.integers(20, 200))
def test_with_room_for_all_nothing_shared_is_computed_twice(depth, shared, requests, budget):
    rig = Rig(depth=depth, max_batched_tokens=budget, num_blocks=200)
    for number in range(requests):
        rig.add(f"{number}", (*range(shared), 100 + number), max_tokens=2)
    rig.drain()
    blocks = shared // 4
    assert [starts(rig, sample) for sample in range(requests)] == [0, *[4 * blocks] * (requests - 1)]
