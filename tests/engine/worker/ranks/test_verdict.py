"""Who has died, failed or hangs: the judgement alone, over made-up times."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pagelet_engine.worker.ranks.watch import BEAT_S, ECHO_S, QUIET_S, Sign, verdict

LIMIT_S = 30.0
NOW_S = 1000.0


def sign(rank: int, *, begun: int = 5, ended: int = 5, heard_s: float = NOW_S, since_s: float = NOW_S) -> Sign:
    return Sign(f"rank {rank} of 3", heard_s, begun, ended, since_s)


IDLE = (sign(0), sign(1), sign(2))
BUSY = (sign(0, begun=6), sign(1, begun=6), sign(2, begun=6))


def judge(*signs: Sign) -> str | None:
    return verdict(signs, NOW_S, LIMIT_S)


@pytest.mark.parametrize("signs", [IDLE, BUSY], ids=["idle", "busy"])
def test_ranks_that_are_heard_and_go_on_are_well(signs: tuple[Sign, ...]) -> None:
    assert judge(*signs) is None


def test_a_death_is_told_at_once_with_its_step() -> None:
    dead = replace(BUSY[2], died="was killed by SIGKILL")
    assert judge(BUSY[0], BUSY[1], dead) == "rank 2 of 3 was killed by SIGKILL in step 6"
    dead = replace(IDLE[1], died="exited with code 1")
    assert judge(IDLE[0], dead, IDLE[2]) == "rank 1 of 3 exited with code 1 after step 5"


def test_a_death_while_the_model_is_loaded_is_told() -> None:
    loading = [sign(rank, begun=0, ended=0) for rank in range(3)]
    loading[1] = replace(loading[1], died="was killed by SIGSEGV")
    assert judge(*loading) == "rank 1 of 3 was killed by SIGSEGV while the model was loaded"


def test_a_failure_waits_for_the_death_that_it_may_be_the_echo_of() -> None:
    echo = replace(BUSY[1], failed="RuntimeError: Connection closed by peer", failed_s=NOW_S - ECHO_S / 2)
    assert judge(BUSY[0], echo, BUSY[2]) is None
    dead = replace(BUSY[2], died="was killed by SIGKILL")
    assert judge(BUSY[0], echo, dead) == "rank 2 of 3 was killed by SIGKILL in step 6"


def test_the_first_failure_is_told_where_no_death_explains_it() -> None:
    first = replace(BUSY[2], failed="ValueError: on fire", failed_s=NOW_S - 2 * ECHO_S, died="exited with code 1")
    second = replace(BUSY[1], failed="RuntimeError: an echo", failed_s=NOW_S - ECHO_S)
    assert judge(BUSY[0], second, first) == "rank 2 of 3 failed in step 6: ValueError: on fire"


def test_silence_is_allowed_for_the_limit() -> None:
    silent = replace(IDLE[1], heard_s=NOW_S - LIMIT_S)
    assert judge(IDLE[0], silent, IDLE[2]) is None
    silent = replace(IDLE[1], heard_s=NOW_S - LIMIT_S - 1)
    wanted = "rank 1 of 3 hangs after step 5: silent for 31 s, at most 30 are allowed"
    assert judge(IDLE[0], silent, IDLE[2]) == wanted


def test_whoever_is_silent_is_why_a_step_does_not_end() -> None:
    late = [replace(each, since_s=NOW_S - LIMIT_S - 1) for each in BUSY]
    late[1] = replace(late[1], heard_s=NOW_S - QUIET_S - 1)
    assert judge(*late) == "rank 1 of 3 hangs in step 6: silent for 3 s, at most 30 are allowed"


def test_the_one_rank_that_has_not_begun_a_late_step_is_told() -> None:
    late = [replace(each, since_s=NOW_S - LIMIT_S - 1) for each in BUSY]
    late[2] = sign(2, begun=5, ended=5)
    assert judge(*late) == "rank 2 of 3 hangs before step 6: not ended after 31 s, at most 30 are allowed"


def test_the_one_rank_that_does_not_end_a_step_is_told() -> None:
    late = sign(1, begun=5, ended=4, since_s=NOW_S - LIMIT_S - 1)
    wanted = "rank 1 of 3 hangs in step 5: not ended after 31 s, at most 30 are allowed"
    assert judge(IDLE[0], late, IDLE[2]) == wanted


def test_where_several_are_in_a_late_step_all_of_them_are_told() -> None:
    late = [replace(each, since_s=NOW_S - LIMIT_S - 1) for each in BUSY]
    late[1] = replace(late[1], ended=6)
    over = "not ended after 31 s, at most 30 are allowed"
    assert judge(*late) == f"step 6 hangs: {over}; rank 0 of 3 is in it, rank 2 of 3 is in it"


def test_loading_may_take_as_long_as_it_takes() -> None:
    loading = [sign(rank, begun=0, ended=0, heard_s=0.0, since_s=0.0) for rank in range(3)]
    assert judge(*loading) is None


def test_a_step_is_timed_from_when_it_became_the_oldest_in_flight() -> None:
    rank = Sign("rank 1", 0.0).progress(1, 0, 10.0).progress(2, 0, 11.0)
    assert rank.since_s == 10.0
    assert rank.progress(2, 1, 12.0).since_s == 12.0
    assert rank.progress(2, 2, 13.0).progress(3, 2, 20.0).since_s == 20.0


rank_signs = st.builds(
    Sign,
    name=st.just("some rank"),
    heard_s=st.floats(NOW_S - BEAT_S, NOW_S),
    begun=st.integers(1, 9),
    ended=st.integers(1, 9),
    since_s=st.floats(NOW_S - LIMIT_S, NOW_S),
)


@given(st.lists(rank_signs, min_size=2, max_size=8))
def test_nobody_is_accused_within_the_limit(signs: list[Sign]) -> None:
    assert judge(*signs) is None


@given(st.lists(rank_signs, min_size=2, max_size=8), st.data())
def test_a_silent_rank_is_always_found(signs: list[Sign], data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, len(signs) - 1))
    signs[rank] = replace(signs[rank], name="the silent one", heard_s=NOW_S - LIMIT_S - 1)
    assert (judge(*signs) or "").startswith("the silent one hangs ")
