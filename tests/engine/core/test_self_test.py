"""Rows that no token can be drawn from end their request alone; an engine that computes nothing else finds that out."""

import pytest
from pagelet_engine.core.request import FinishReason
from pagelet_engine.core.self_test import MAX_NON_FINITE, SELF_TEST_ID, NonFiniteModelError

from .fake_worker import NON_FINITE, NOTHING_LEFT
from .rig import Rig

DEPTHS = pytest.mark.parametrize("depth", [1, 2])
REASONS = pytest.mark.parametrize(
    ("failure", "reason"), [(NON_FINITE, FinishReason.NON_FINITE), (NOTHING_LEFT, FinishReason.NOTHING_LEFT)]
)


def failing(failure: int, *samples: int):
    """Every row of these sample numbers is one of these."""
    return lambda step, sample: failure if sample in samples else 1


@DEPTHS
@REASONS
def test_the_first_sample_that_gets_no_token_ends_its_request_and_no_other(depth, failure, reason):
    rig = Rig(depth=depth, num_drawn=lambda step, sample: failure if (step, sample) == (5, 1) else 1)
    rig.add("good", 4, max_tokens=20)
    rig.add("bad", 4, max_tokens=20, n=2)
    rig.drain()
    assert rig.reasons["good", 0] is FinishReason.LENGTH
    assert {rig.reasons["bad", index] for index in (0, 1)} == {reason}


@DEPTHS
def test_an_engine_that_computes_nothing_but_nan_ends_once_its_own_prompt_fails_too(depth):
    rig = Rig(depth=depth, num_drawn=lambda step, sample: NON_FINITE)
    for number in range(MAX_NON_FINITE):
        rig.add(f"request {number}", 4)
    with pytest.raises(NonFiniteModelError, match="for 33 samples in a row, one of them of the engine's own prompt"):
        rig.drain()
    assert len(rig.finished) == MAX_NON_FINITE, "each client has heard what happened to its request"


@DEPTHS
def test_one_clients_bad_prompts_do_not_end_an_engine_whose_own_prompt_gets_a_token(depth):
    bad = range(3 * MAX_NON_FINITE + 5)
    tests = []
    rig = Rig(
        depth=depth, max_num_seqs=1, max_queued=200, num_drawn=lambda step, sample: _one_unless(rig, sample, tests)
    )
    for number in bad:
        rig.add(f"bad {number}", 4)
    rig.drain()
    assert {rig.reasons[f"bad {number}", 0] for number in bad} == {FinishReason.NON_FINITE}
    assert len(tests) == 3, "the count begins anew with each that it passed"
    rig.add("good", 4, max_tokens=3)
    rig.drain()
    assert rig.reasons["good", 0] is FinishReason.LENGTH


def _one_unless(rig: Rig, sample: int, tests: list[int]) -> int:
    """A token for the engine's own prompt, a token of id 0, and for the request called good."""
    (start,) = (start for start in _starts(rig) if start.sample == sample)
    if start.tokens == (0,):
        tests.append(sample)
        return 1
    return 1 if "good" in rig.requests else NON_FINITE


def _starts(rig: Rig):
    return [segment for step in rig.worker.submitted for segment in step.segments if segment.start == 0]


def test_what_parameters_exclude_never_makes_the_engine_doubt_itself():
    rig = Rig(num_drawn=failing(NOTHING_LEFT, *range(2 * MAX_NON_FINITE)))
    for number in range(2 * MAX_NON_FINITE):
        rig.add(f"request {number}", 4)
    rig.drain()
    assert len(_starts(rig)) == 2 * MAX_NON_FINITE


def test_a_row_that_is_finite_ends_the_count():
    rig = Rig(num_drawn=lambda step, sample: 1 if sample == 20 else NON_FINITE)
    for number in range(MAX_NON_FINITE + 10):
        rig.add(f"request {number}", 4, max_tokens=1)
    rig.drain()
    assert len(_starts(rig)) == MAX_NON_FINITE + 10


def test_the_engines_own_prompt_goes_before_all_that_wait_and_nobody_hears_of_it():
    rig = Rig(max_num_seqs=1, num_drawn=failing(NON_FINITE, *range(MAX_NON_FINITE)))
    for number in range(MAX_NON_FINITE + 1):
        rig.add(f"request {number}", 4, priority=1000, max_tokens=2)
    heard = [update.request_id for _ in range(MAX_NON_FINITE) for update in rig.step()]
    assert len(heard) == MAX_NON_FINITE
    rig.step()
    assert rig.last_step.segments[0].tokens == (0,)
    rig.drain()
    assert SELF_TEST_ID not in rig.answers
    assert rig.reasons[f"request {MAX_NON_FINITE}", 0] is FinishReason.LENGTH
