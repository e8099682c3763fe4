"""A container's life without a container: ready, unhealthy, restarted, given up."""

from hypothesis import given
from hypothesis import strategies as st
from pagelet_operator.local.lifecycle import BackOff, Life, Phase
from pagelet_operator.local.probe import Probe, Role, TcpSocket

ACTION = TcpSocket(1)
PROBES = {
    Role.STARTUP: Probe(ACTION, period_s=1, failure_threshold=2),
    Role.READINESS: Probe(ACTION, period_s=1, failure_threshold=1),
    Role.LIVENESS: Probe(ACTION, period_s=1, failure_threshold=2),
}


def running() -> Life:
    return Life(PROBES).started(0).probed(Role.STARTUP, True, "", 1)


def test_nothing_but_the_start_is_asked_about_until_it_succeeds() -> None:
    life = Life(PROBES).started(0)
    assert life.phase is Phase.STARTING
    assert set(life.tracks) == {Role.STARTUP}
    assert set(life.probed(Role.STARTUP, True, "", 1).tracks) == {Role.READINESS, Role.LIVENESS}


def test_a_container_is_ready_only_while_its_readiness_probe_succeeds() -> None:
    life = running()
    assert not life.ready
    life = life.probed(Role.READINESS, True, "", 2)
    assert life.ready
    assert not life.probed(Role.READINESS, False, "", 3).ready


def test_a_container_without_probes_is_ready_when_it_runs() -> None:
    life = Life({}).started(0)
    assert life.ready
    assert life.ever_ready


def test_a_start_that_takes_too_long_is_unhealthy_and_says_what_was_found() -> None:
    life = Life(PROBES).started(0).probed(Role.STARTUP, False, "loading weights", 0)
    assert not life.unhealthy
    life = life.probed(Role.STARTUP, False, "loading weights", 1)
    assert life.unhealthy == "its startup probe failed 2 times in a row: loading weights"


def test_a_failing_liveness_probe_is_unhealthy_and_a_failing_readiness_probe_is_not() -> None:
    unready = running().probed(Role.READINESS, False, "", 2).probed(Role.READINESS, False, "", 9)
    assert not unready.unhealthy
    dead = running().probed(Role.LIVENESS, False, "", 2).probed(Role.LIVENESS, False, "", 3)
    assert "liveness" in dead.unhealthy


def test_an_answer_that_comes_after_the_exit_changes_nothing() -> None:
    gone = running().exited("exit code 1", 5)
    assert gone.probed(Role.READINESS, True, "", 6) == gone


def test_restarts_wait_twice_as_long_each_time_up_to_a_limit() -> None:
    life = Life({}, BackOff(initial_s=1, maximum_s=5, stable_s=60))
    waits = []
    for _ in range(5):
        life = life.started(0).exited("exit code 1", 1)
        waits.append(life.start_at_s - 1)
    assert waits == [1, 2, 4, 5, 5]


def test_a_container_that_ran_for_a_while_starts_again_at_once_and_is_forgiven() -> None:
    life = Life({}, BackOff(initial_s=1, stable_s=60)).started(0).exited("exit code 1", 1).started(2)
    life = life.exited("killed by SIGKILL", 62)
    assert life.start_at_s == 62
    assert life.failures == 0
    assert life.restarts == 2
    assert life.started(62).exited("exit code 1", 63).start_at_s == 64


def test_a_long_start_that_never_succeeded_is_not_forgiven() -> None:
    life = Life(PROBES, BackOff(stable_s=60)).started(0).exited("its startup probe failed", 1800)
    assert life.failures == 1


def test_it_gives_up_on_a_container_that_was_never_ready_and_never_on_one_that_was() -> None:
    never = Life(PROBES)
    for _ in range(3):
        never = never.started(0).exited("exit code 1", 0)
    assert never.gives_up(3)
    once = running().probed(Role.READINESS, True, "", 2)
    for _ in range(9):
        once = once.exited("exit code 1", 3).started(4)
    assert not once.gives_up(3)


EVENTS = st.lists(
    st.tuples(st.sampled_from(["start", "exit", "answer"]), st.sampled_from(Role), st.booleans(), st.floats(0.01, 100)),
    max_size=60,
)


@given(EVENTS)
def test_whatever_happens_a_life_is_consistent(events: list[tuple[str, Role, bool, float]]) -> None:
    life, now_s, exits = Life(PROBES), 0.0, 0
    for event, role, ok, passed_s in events:
        now_s += passed_s
        if event == "start" and life.phase is Phase.WAITING:
            life = life.started(now_s)
        elif event == "exit" and life.phase is not Phase.WAITING:
            life, exits = life.exited("exit code 1", now_s), exits + 1
            assert now_s <= life.start_at_s <= now_s + life.back_off.maximum_s
        elif event == "answer":
            life = life.probed(role, ok, "", now_s)
        assert life.restarts == exits
        assert not life.ready or (life.phase is Phase.RUNNING and life.ever_ready)
        assert (life.phase is Phase.WAITING) == (not life.tracks)
