"""Medians, ratios within a round, and shares."""

import pytest
from client import Measured, Timing
from cpu.rounds import Turn
from cpu.summary import Limit, Spread, results, speed_of


def turn(number: int, server: str, tokens_per_s: float, first_token_s: float = 0.5, workload: str = "mixed") -> Turn:
    """Two requests of ten tokens each."""
    timings = (Timing(first_token_s, 1.0, 10), Timing(first_token_s, 1.0, 10))
    return Turn(number, workload, server, Measured(20 / tokens_per_s, 0.25, timings), None, 0.0, ())


TURNS = [
    turn(0, "peer", 1.0),
    turn(0, "ours", 1.0),
    turn(1, "peer", 100.0, 1.0),
    turn(1, "ours", 300.0, 0.5),
    turn(2, "ours", 100.0, 0.5),
    turn(2, "peer", 50.0, 2.0),
    turn(3, "peer", 200.0, 0.25),
    turn(3, "ours", 200.0, 0.5),
]


def test_compares_turns_of_the_same_round_and_leaves_the_warm_up_out() -> None:
    ours, theirs = results(TURNS, "ours", {"mixed": {"fp32": Limit(400.0, 0.1)}})
    assert (ours.server, theirs.server) == ("ours", "peer")
    assert ours.tokens_per_s == Spread(200.0, 100.0, 300.0)
    assert theirs.tokens_per_s == Spread(100.0, 50.0, 200.0)
    assert ours.ratio is None
    assert theirs.ratio == Spread(2.0, 1.0, 3.0)
    assert theirs.first_token_ratio == Spread(2.0, 0.5, 4.0)
    assert (ours.shares, theirs.shares) == ({"fp32": 0.5}, {"fp32": 0.25})
    assert ours.server_cpu_s is None


def test_one_stream_is_judged_by_its_speed_after_the_first_token() -> None:
    one = Turn(1, "single", "ours", Measured(9.0, 0.0, (Timing(1.0, 3.0, 11),)), 1.0, 0.0, ())
    assert speed_of(one) == pytest.approx(5.0)


def test_counts_answers_of_the_wrong_length() -> None:
    short = Turn(1, "mixed", "ours", Measured(1.0, 0.0, (Timing(0.1, 0.2, 9),)), 2.0, 0.0, ((10, 9),))
    (result,) = results([short], "ours", {})
    assert result.wrong_lengths == 1
    assert result.server_cpu_s == Spread(2.0, 2.0, 2.0)
