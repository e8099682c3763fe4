from pagelet_engine.server.drain_call import STOP_WITHIN_S, DrainCall
from pagelet_engine.server.health import Phase, judge


def test_an_engine_that_loads_is_alive_and_not_ready_however_long_it_takes() -> None:
    health = judge(Phase.LOADING, silence_s=3600, step_timeout_s=30, step=0)
    assert (health.alive, health.ready) == (True, False)


def test_an_engine_that_steps_is_ready() -> None:
    health = judge(Phase.SERVING, silence_s=29.9, step_timeout_s=30, step=5)
    assert (health.alive, health.ready) == (True, True)


def test_an_engine_that_drains_is_alive_and_not_ready() -> None:
    health = judge(Phase.DRAINING, silence_s=0.1, step_timeout_s=30, step=5)
    assert (health.alive, health.ready) == (True, False)


def test_a_silent_core_is_dead_whatever_it_was_doing_and_says_where() -> None:
    for phase in (Phase.SERVING, Phase.DRAINING):
        health = judge(phase, silence_s=31, step_timeout_s=30, step=1234)
        assert (health.alive, health.ready) == (False, False)
        assert "1234" in health.reason


def test_an_engine_that_was_drained_and_forgotten_is_to_be_restarted() -> None:
    health = judge(Phase.DRAINING, silence_s=0.1, step_timeout_s=30, step=5, forgotten_s=42.4)
    assert (health.alive, health.ready) == (False, False)
    assert health.reason == "drained by a Drain call 42 s ago and not stopped: restart it, so that it serves again"


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_drain_is_forgotten_when_no_stop_follows_the_last_request() -> None:
    clock = Clock()
    call = DrainCall(clock)
    assert call.forgotten_s(in_flight=0) == 0, "not drained"
    call.begin(None)
    clock.now_s += 3600
    assert call.forgotten_s(in_flight=1) == 0, "it has as long as it takes"
    assert call.forgotten_s(in_flight=0) == 0
    clock.now_s += STOP_WITHIN_S + 1
    assert call.forgotten_s(in_flight=0) == 3600 + STOP_WITHIN_S + 1


def test_a_drain_is_forgotten_when_no_stop_follows_its_own_time_and_a_second_call_adds_none() -> None:
    clock = Clock()
    call = DrainCall(clock)
    call.begin(60.0)
    clock.now_s += 60 + STOP_WITHIN_S - 1
    call.begin(3600.0)
    assert call.forgotten_s(in_flight=1) == 0
    clock.now_s += 2
    assert call.forgotten_s(in_flight=1) == 60 + STOP_WITHIN_S + 1
