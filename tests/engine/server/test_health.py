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
