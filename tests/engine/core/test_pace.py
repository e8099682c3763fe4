"""When a turn would come, and what those hear who could not be answered in time."""

import pytest
from pagelet_engine.core.pace import ENOUGH, MAX_RETRY_S, Pace
from pagelet_engine.core.request import RejectReason, RequestRejected

from .rig import Rig


def paced(turns: int, seconds: float) -> Pace:
    pace = Pace()
    pace.note(turns, seconds)
    return pace


def test_nobody_knows_before_enough_have_had_their_turn():
    assert paced(ENOUGH - 1, 100.0).wait_s(1000) == 0
    assert paced(ENOUGH, 4.0).wait_s(10) == pytest.approx(10 * 4.0 / ENOUGH)


def test_what_was_long_ago_is_forgotten():
    pace = paced(1000, 1.0)
    for _ in range(200):
        pace.note(1, 1.0)
    assert pace.wait_s(10) == pytest.approx(10.0, rel=0.1)


def test_nobody_is_refused_for_a_wait_that_is_not_certain():
    assert paced(10, 10.0).least_wait_s(4) == pytest.approx(2.0)


def test_a_refused_one_comes_back_within_bounds():
    assert paced(1000, 1.0).retry_s(10) == 1.0
    assert paced(10, 100.0).retry_s(1000) == MAX_RETRY_S
    assert paced(10, 20.0).retry_s(20) == pytest.approx(10.0)


def rig_with_a_pace() -> Rig:
    """One request at a time, each of which takes ten seconds; three wait."""
    rig = Rig(max_num_seqs=1, max_queued=4, token_s=0.0)
    rig.step_takes_s = 5.0
    for number in range(ENOUGH + 4):
        if rig.engine.load().waiting == 4:
            rig.steps(2)
        rig.add(str(number), 4, max_tokens=2)
    return rig


def test_a_full_queue_says_when_to_come_back():
    rig = rig_with_a_pace()
    rig.until(lambda: rig.engine.load().waiting < 4)
    while rig.engine.load().waiting < 4:
        rig.add(f"more {rig.engine.load().waiting}", 4, max_tokens=2)
    with pytest.raises(RequestRejected) as rejected:
        rig.add("late", 4, max_tokens=2)
    assert rejected.value.reason is RejectReason.QUEUE_FULL
    assert rejected.value.retry_after_s == pytest.approx(10.0, rel=0.2)


def test_who_could_not_be_answered_in_time_is_refused_with_the_numbers():
    rig = rig_with_a_pace()
    rig.steps(1)
    waiting = rig.engine.load().waiting
    assert 0 < waiting < 4
    with pytest.raises(RequestRejected, match=rf"until|turns of {waiting} requests before it") as rejected:
        rig.add("hurried", 4, max_tokens=2, deadline_s=rig.now_s + 1.0)
    assert rejected.value.reason is RejectReason.TOO_LATE
    assert rejected.value.retry_after_s >= 1.0
    rig.add("patient", 4, max_tokens=2, deadline_s=rig.now_s + 1000.0)


def test_the_own_tokens_of_a_request_count():
    rig = Rig()  # a prompt's token takes a second
    with pytest.raises(RequestRejected, match=r"within 5\.0 s, but takes at least 6\.0 s"):
        rig.add("long", 6, deadline_s=5.0)
    rig.add("short", 4, deadline_s=5.0)
