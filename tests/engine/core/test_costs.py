"""What copying and computing cost, as measured: which is cheaper."""

import pytest
from pagelet_engine.core.costs import Costs, WorkerCosts


def told(*steps: tuple[int, int, float], copy_s: float = 0.001, overlaps: bool = False) -> Costs:
    """(tokens more than one a sample, blocks copied, seconds) each."""
    costs = Costs(WorkerCosts(copy_s, overlaps))
    for step in steps:
        costs.note(*step)
    return costs


def test_a_token_costs_nothing_before_a_step_has_told():
    costs = told()
    assert costs.recompute_s(1000) == 0
    assert not costs.prefers_copies(16)


def test_a_token_costs_what_a_prompt_adds_to_a_usual_step():
    costs = told(*[(0, 0, 0.010)] * 5, (500, 0, 0.110))
    assert costs.step_s == pytest.approx(0.010)
    assert costs.token_s == pytest.approx(0.1 / 500)


def test_the_first_prompt_tells_even_if_nothing_ran_before():
    assert told((512, 0, 0.256)).token_s == pytest.approx(0.0005)


def test_copies_between_steps_are_taken_off_their_time():
    costs = told(*[(0, 0, 0.010)] * 5, (0, 5, 0.015))
    assert costs.step_s == pytest.approx(0.010)


def test_a_step_whose_time_copies_may_explain_tells_nothing():
    costs = told((0, 0, 0.010), (500, 0, 0.110), (500, 400, 0.410), overlaps=True)
    assert costs.token_s == pytest.approx(0.1 / 500)


def test_where_copies_stop_the_steps_each_is_paid():
    assert told((0, 0, 1.0)).swap_s(out=3, back=5, queued=100) == pytest.approx(0.008)


def test_beside_a_step_only_what_exceeds_it_is_paid():
    costs = told((0, 0, 0.010), overlaps=True)
    assert costs.swap_s(out=5, back=5, queued=0) == 0
    assert costs.swap_s(out=5, back=12, queued=8) == pytest.approx(0.003 + 0.002)


def test_a_block_is_fetched_where_that_takes_less_than_computing_it():
    assert told((512, 0, 0.512)).prefers_copies(16)
    assert not told((512, 0, 0.512), copy_s=0.02).prefers_copies(16)
