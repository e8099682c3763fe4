"""What the benchmark of the gateway's fairness makes of a bystander's record."""

from typing import Any

from door_figures import NO_ANSWER_S, Row, Window, cells, collect, summary
from gateway_watch import most_lag_s


def chat(sent_s: float, *arrivals_s: float, ended_s: float, failure: str = "", complete: bool = True) -> dict[str, Any]:
    return {
        "sent_s": sent_s,
        "arrivals_s": list(arrivals_s),
        "ended_s": ended_s,
        "complete": complete,
        "failure": failure,
    }


def windows(seen: dict[str, Any]) -> tuple[Window, Window]:
    """Undisturbed until 10 s, loaded until 20 s."""
    quiet, loaded = Window(), Window()
    collect(seen, 0.0, 10.0, quiet, whole=True)
    collect(seen, 10.0, 20.0, loaded, whole=False)
    return quiet, loaded


def test_a_wait_that_reaches_into_the_attack_is_the_attacks() -> None:
    seen = {
        "chats": [chat(1.0, 1.5, 2.0, ended_s=2.0), chat(9.0, 9.5, 14.5, ended_s=15.0), chat(9.9, 13.9, ended_s=14.0)],
        "pings": [(3.0, 3.25), (9.9, 12.4)],
    }
    quiet, loaded = windows(seen)
    assert quiet == Window([0.5, 0.5], [0.5], [0.25])
    assert loaded == Window([4.0], [5.0], [2.5])


def test_a_chat_without_an_answer_has_waited_until_the_record_ended() -> None:
    seen = {"chats": [chat(11.0, ended_s=71.0, failure="timed out", complete=False)], "pings": []}
    _, loaded = windows(seen)
    assert loaded.first_token_s == [60.0]
    assert loaded.failures == ["timed out"]


def test_a_stream_that_waits_for_its_next_token_has_a_gap_until_the_record_ended() -> None:
    seen = {"chats": [chat(11.0, 11.5, ended_s=31.5, complete=False)], "pings": []}
    _, loaded = windows(seen)
    assert loaded.gaps_s == [20.0]


def test_what_misses_its_aim_is_named_and_the_rest_is_not() -> None:
    quiet = Window([0.04] * 9, [0.02] * 99, [0.001] * 99)
    fair = Row(quiet, Window([0.07] * 9, [0.02] * 99, [0.09] * 99), memory_bytes=2**20, attacks=[{"sent": 1}])
    unfair = Row(quiet, Window([0.09] * 9, [0.02] * 99, [0.2] * 99), memory_bytes=2**40, attacks=[{"sent": 2}])
    assert summary(fair)["beyond"] == []
    assert summary(unfair)["beyond"] == ["TTFT", "lag", "memory"]
    assert cells("fair", summary(fair))[-1] == "none"


def test_a_gateway_that_died_is_a_finding_though_nothing_was_seen_of_it() -> None:
    found = summary(Row(Window([0.04], [0.02], [0.001]), Window(), ends=["killed above 4096 MiB"]))
    assert found["loaded"]["first_token_s"] == NO_ANSWER_S
    assert "gateway" in found["beyond"]


def test_loop_lag_is_the_highest_bucket_that_grew() -> None:
    before = {0.01: 5.0, 0.1: 6.0, 1.0: 7.0, float("inf"): 7.0}
    after = {0.01: 9.0, 0.1: 12.0, 1.0: 13.0, float("inf"): 13.0}
    assert most_lag_s(before, after) == 0.1
    assert most_lag_s(before, before) == 0.0
    assert most_lag_s(None, after) is None
