"""What a row of answers amounts to, and when the next question is due."""

from hypothesis import given
from hypothesis import strategies as st
from pagelet_operator.local.probe import EAGER_PERIOD_S, Probe, ProbeTrack, Role, TcpSocket

ACTION = TcpSocket(1)


def answer(track: ProbeTrack, *answers: bool) -> ProbeTrack:
    """The track after these answers, each given exactly when it was due."""
    for ok in answers:
        track = track.after(ok, "", track.due_s)
    return track


def test_the_first_question_waits_for_the_initial_delay() -> None:
    track = ProbeTrack.begin(Role.READINESS, Probe(ACTION, initial_delay_s=5), now_s=100)
    assert track.due_s == 105
    assert track.passing is None


def test_success_needs_as_many_successes_in_a_row_as_the_threshold_says() -> None:
    track = ProbeTrack.begin(Role.READINESS, Probe(ACTION, success_threshold=2), now_s=0)
    assert answer(track, True).passing is None
    assert answer(track, True, False, True).passing is None
    assert answer(track, True, False, True, True).passing is True


def test_failure_needs_as_many_failures_in_a_row_as_the_threshold_says() -> None:
    track = ProbeTrack.begin(Role.LIVENESS, Probe(ACTION, period_s=10, failure_threshold=3), now_s=0)
    assert answer(track, True, False, False, True, False, False).passing is True
    assert answer(track, True, False, False, False).passing is False


def test_a_start_is_asked_about_often_but_keeps_the_time_it_was_granted() -> None:
    track = ProbeTrack.begin(Role.STARTUP, Probe(ACTION, period_s=2, failure_threshold=30), now_s=0)
    asked = 0
    while track.passing is None:
        track = answer(track, False)
        asked += 1
    gave_up_s = track.due_s - EAGER_PERIOD_S
    assert 58 <= gave_up_s <= 58 + EAGER_PERIOD_S
    assert asked > 300


def test_a_ready_container_is_asked_once_a_period_and_an_unready_one_often() -> None:
    probe = Probe(ACTION, period_s=10, failure_threshold=1)
    ready = answer(ProbeTrack.begin(Role.READINESS, probe, now_s=0), True)
    assert ready.due_s == 10
    unready = answer(ready, False)
    assert unready.passing is False
    assert unready.due_s == 10 + EAGER_PERIOD_S


def test_liveness_is_never_asked_more_often_than_its_period() -> None:
    track = ProbeTrack.begin(Role.LIVENESS, Probe(ACTION, period_s=10), now_s=0)
    assert answer(track, False).due_s == 10


@given(
    role=st.sampled_from(Role),
    answers=st.lists(st.booleans(), max_size=40),
    period_s=st.floats(0.1, 30),
    successes=st.integers(1, 4),
    failures=st.integers(1, 4),
)
def test_a_verdict_always_rests_on_enough_equal_answers(
    role: Role, answers: list[bool], period_s: float, successes: int, failures: int
) -> None:
    probe = Probe(ACTION, period_s=period_s, success_threshold=successes, failure_threshold=failures)
    track = ProbeTrack.begin(role, probe, now_s=0)
    for index, ok in enumerate(answers, 1):
        before, track = track, answer(track, ok)
        assert track.due_s > before.due_s
        if track.passing is not before.passing:
            needed = successes if track.passing else failures
            assert set(answers[max(0, index - needed) : index]) == {track.passing}
            assert index >= needed
