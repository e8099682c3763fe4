"""What a device did between two steps, from marks that are written out."""

from dataclasses import dataclass

import pytest
from gpu.step_log import StepLog
from pagelet_engine.core.step import Segment, Step


@dataclass
class Stream:
    """A device's stream whose clock the test sets."""

    now_s: float = 0.0
    reached_s: float = float("inf")

    def mark(self) -> float:
        return self.now_s

    def is_past(self, mark: float) -> bool:
        return mark <= self.reached_s

    def seconds(self, earlier: float, later: float) -> float:
        return later - earlier


def log_steps(stream: Stream, log: StepLog[float], times: list[tuple[float, float]], num_tokens: int = 1) -> None:
    for number, (began_s, ended_s) in enumerate(times):
        stream.now_s = began_s
        log.begin(number, b"")
        stream.now_s = ended_s
        log.end(Step(number, (), (), (Segment(8, 3, 20, num_tokens, ()),)))


def test_a_gap_is_what_passes_between_one_steps_end_and_the_next_ones_begin() -> None:
    stream = Stream()
    log = StepLog(stream)
    log_steps(stream, log, [(0.0, 1.0), (1.0, 2.0), (2.5, 3.0)])
    pace = log.pace(log.steps)
    assert pace.step_s == pytest.approx((1.0, 1.0))
    assert pace.gap_s == pytest.approx((0.0, 0.5))
    assert pace.gap_share == pytest.approx(0.25)


def test_a_step_is_late_when_the_one_before_had_ended_as_the_last_of_it_was_launched() -> None:
    stream = Stream(reached_s=1.5)
    log = StepLog(stream)
    log_steps(stream, log, [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)])
    assert [step.was_late for step in log.steps] == [False, True, False]
    assert log.pace(log.steps).num_late == 1


def test_keeps_of_a_step_who_computed_what() -> None:
    stream = Stream()
    log = StepLog(stream)
    log_steps(stream, log, [(0.0, 1.0)], num_tokens=5)
    (step,) = log.steps
    assert step.shares == ((3, 20, 5, True),)
    assert not step.is_decode
