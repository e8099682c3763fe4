"""Whole rollouts, replayed step by step, and single steps in situations that are easy to get wrong.

A row of a table: for each revision its ready pods, the replicas asked for, and the pods that still drain; the phase.
"""

import pytest
from pagelet_api.v1alpha1 import RolloutStrategy
from pagelet_operator.rollout import RevisionPods, RolloutPhase, RolloutSettings, plan_rollout

from .rollout_cluster import Cluster, State, rules, serving

AUTO, SURGE, IN_PLACE = RolloutStrategy.AUTO, RolloutStrategy.SURGE, RolloutStrategy.IN_PLACE


def replay(cluster: Cluster, target: str, replicas: int, settings: RolloutSettings, rounds: int = 40) -> list[str]:
    """The table of a rollout; rows that repeat the one before are left out."""
    rows: list[str] = []
    for _ in range(rounds):
        step = cluster.plan(target, replicas, settings)
        columns = [
            f"{revision.hash} {revision.ready}/{step.replicas[revision.hash]}"
            + (f" -{revision.leaving}" if revision.leaving else "")
            for revision in cluster.observed()
        ]
        row = " | ".join([*columns, step.phase.value])
        if rows[-1:] != [row]:
            rows.append(row)
        cluster.round()
    return rows


def test_a_first_revision_gets_all_its_replicas_at_once() -> None:
    cluster = Cluster(devices=3, revisions=[])
    assert replay(cluster, "a", 3, rules(AUTO))[0] == "a 0/3 | Rolling"
    assert (cluster.ready(), cluster.writes) == (3, 1)


def test_surge_takes_an_old_pod_only_after_a_new_one_is_ready() -> None:
    assert replay(serving(2, devices=3), "b", 2, rules(SURGE)) == [
        "a 2/2 | b 0/1 | Rolling",
        "a 2/1 | b 1/1 | Rolling",
        "a 1/1 -1 | b 1/1 | Rolling",
        "a 1/1 | b 1/2 | Rolling",
        "a 1/0 | b 2/2 | Rolling",
        "a 0/0 -1 | b 2/2 | Rolling",
        "a 0/0 | b 2/2 | Done",
    ]


def test_in_place_asks_for_a_new_pod_only_after_the_old_one_is_gone() -> None:
    assert replay(serving(2, devices=2), "b", 2, rules(IN_PLACE)) == [
        "a 2/1 | b 0/0 | Rolling",
        "a 1/1 -1 | b 0/0 | Rolling",
        "a 1/1 | b 0/1 | Rolling",
        "a 1/0 | b 1/1 | Rolling",
        "a 0/0 -1 | b 1/1 | Rolling",
        "a 0/0 | b 1/2 | Rolling",
        "a 0/0 | b 2/2 | Done",
    ]


def test_in_place_takes_more_at_a_time_once_the_first_new_pod_is_ready() -> None:
    assert replay(serving(4, devices=4), "b", 4, rules(IN_PLACE, max_unavailable=2))[:5] == [
        "a 4/3 | b 0/0 | Rolling",
        "a 3/3 -1 | b 0/0 | Rolling",
        "a 3/3 | b 0/1 | Rolling",
        "a 3/1 | b 1/1 | Rolling",
        "a 2/1 -1 | b 1/1 | Rolling",
    ]


def test_auto_surges_while_a_device_is_free() -> None:
    assert replay(serving(2, devices=3), "b", 2, rules(AUTO)) == replay(serving(2, devices=3), "b", 2, rules(SURGE))


def test_auto_gives_its_surge_pod_up_and_goes_in_place_when_no_device_is_free() -> None:
    cluster = serving(2, devices=2)
    assert replay(cluster, "b", 2, rules(AUTO)) == [
        "a 2/2 | b 0/1 | Rolling",
        "a 2/2 | b 0/1 | WaitingForDevice",
        "a 2/2 | b 0/0 | Rolling",  # the surge pod goes first
        "a 2/1 | b 0/0 | Rolling",
        "a 1/1 -1 | b 0/0 | Rolling",
        "a 1/1 | b 0/1 | Rolling",
        "a 1/0 | b 1/1 | Rolling",
        "a 0/0 -1 | b 1/1 | Rolling",
        "a 0/0 | b 1/2 | Rolling",
        "a 0/0 | b 2/2 | Done",
    ]
    assert cluster.refused == {"b"}


@pytest.mark.parametrize("strategy", [AUTO, SURGE, IN_PLACE])
def test_the_only_engine_that_serves_stays_until_a_device_is_free(strategy: RolloutStrategy) -> None:
    cluster = serving(1, devices=1)
    assert replay(cluster, "b", 1, rules(strategy)) == ["a 1/1 | b 0/1 | Rolling", "a 1/1 | b 0/1 | WaitingForDevice"]
    assert "allowDowntime" in cluster.plan("b", 1, rules(AUTO)).message
    cluster.devices = 2
    assert replay(cluster, "b", 1, rules(strategy))[1:] == [
        "a 1/1 | b 0/1 | Rolling",
        "a 1/0 | b 1/1 | Rolling",
        "a 0/0 -1 | b 1/1 | Rolling",
        "a 0/0 | b 1/1 | Done",
    ]


def test_the_only_engine_goes_first_where_downtime_is_allowed() -> None:
    assert replay(serving(1, devices=1), "b", 1, rules(IN_PLACE, allow_downtime=True)) == [
        "a 1/0 | b 0/0 | Rolling",
        "a 0/0 -1 | b 0/0 | Rolling",
        "a 0/0 | b 0/1 | Rolling",
        "a 0/0 | b 1/1 | Done",
    ]


def test_a_bad_revision_stops_at_its_first_pod() -> None:
    cluster = serving(2, devices=3, bad="b")
    assert replay(cluster, "b", 2, rules(SURGE)) == ["a 2/2 | b 0/1 | Rolling", "a 2/2 | b 0/1 | Failed"]
    assert "Its engine crashes" in cluster.plan("b", 2, rules(SURGE)).message


def test_a_bad_revision_costs_one_pod_in_place_and_reverting_touches_no_good_one() -> None:
    cluster = serving(3, devices=3, bad="b")
    assert replay(cluster, "b", 3, rules(IN_PLACE, max_unavailable=2))[-1] == "a 2/2 | b 0/1 | Failed"
    good = cluster.of("a", State.READY)
    assert replay(cluster, "a", 3, rules(IN_PLACE, max_unavailable=2)) == [
        "a 2/2 | b 0/0 | Rolling",
        "a 2/2 | b 0/0 -1 | Rolling",
        "a 2/3 | b 0/0 | Rolling",
        "a 3/3 | b 0/0 | Done",
    ]
    assert all(pod in cluster.pods for pod in good)


def test_a_pod_that_replaces_one_lost_beside_a_bad_revision_is_not_taken() -> None:
    # A node is drained while a bad revision waits for its correction: the old one must recover.
    cluster = serving(2, devices=3, bad="b")
    replay(cluster, "b", 2, rules(SURGE))
    cluster.pods.remove(cluster.of("a")[0])
    assert replay(cluster, "b", 2, rules(SURGE))[-1] == "a 2/2 | b 0/1 | Failed"


def test_an_edit_corrects_a_revision_that_never_served() -> None:
    # The classic deadlock: the old pods are not ready, hold the devices, and must not go before new ones are ready.
    cluster = Cluster(devices=1, revisions=[], bad=frozenset("a"))
    assert replay(cluster, "a", 1, rules(SURGE))[-1] == "a 0/1 | Failed"
    assert replay(cluster, "b", 1, rules(SURGE))[-1] == "a 0/0 | b 1/1 | Done"


def test_reverting_midway_swaps_the_counts() -> None:
    cluster = serving(3, devices=4)
    assert replay(cluster, "b", 3, rules(SURGE), rounds=6)[-1] == "a 2/2 | b 1/2 | Rolling"
    good = cluster.of("a")
    assert replay(cluster, "a", 3, rules(SURGE))[-1] == "a 3/3 | b 0/0 | Done"
    assert all(pod in cluster.pods for pod in good)


def test_replicas_may_change_during_a_rollout() -> None:
    cluster = serving(2, devices=9)
    replay(cluster, "b", 2, rules(AUTO), rounds=1)
    assert replay(cluster, "b", 4, rules(AUTO), rounds=3)[0] == "a 2/2 | b 0/1 | Rolling"  # the first pod comes first
    assert replay(cluster, "b", 4, rules(AUTO), rounds=1) == ["a 2/2 | b 1/3 | Rolling"]  # then all that are missing
    assert replay(cluster, "b", 1, rules(AUTO), rounds=1) == ["a 2/0 | b 1/1 | Rolling"]
    assert replay(cluster, "b", 1, rules(AUTO))[-1] == "a 0/0 | b 1/1 | Done"


def test_scaling_to_zero_and_back_leaves_the_new_revision_alone() -> None:
    cluster = serving(2, devices=2)
    replay(cluster, "b", 2, rules(IN_PLACE), rounds=4)
    assert replay(cluster, "b", 0, rules(IN_PLACE))[-1] == "a 0/0 | b 0/0 | Done"
    assert replay(cluster, "b", 2, rules(IN_PLACE))[0] == "a 0/0 | b 0/2 | Rolling"


def test_of_ten_edits_in_a_second_only_the_last_one_rolls() -> None:
    cluster = serving(2, devices=3)
    for edit in "bcdefghijk":
        cluster.plan(edit, 2, rules(SURGE))
    assert cluster.wanted == {"a": 2, **dict.fromkeys("bcdefghij", 0), "k": 1}
    rows = replay(cluster, "k", 2, rules(SURGE))
    assert rows[-1].endswith("k 2/2 | Done")
    assert not any(cluster.of(edit) for edit in "abcdefghij")


def test_without_a_target_everything_stays() -> None:
    cluster = serving(2, devices=3)
    replay(cluster, "b", 2, rules(SURGE), rounds=4)
    before = dict(cluster.wanted)
    assert cluster.plan("", 5, rules(SURGE)).phase is RolloutPhase.HELD
    assert cluster.wanted == before


def test_a_device_that_is_held_by_a_draining_pod_is_not_asked_for() -> None:
    old = RevisionPods("a", wanted=1, pods=1, ready=1, leaving=1)
    new = RevisionPods("b", wanted=0, pods=0, ready=0)
    assert plan_rollout((old, new), "b", 2, rules(IN_PLACE), 0).replicas == {"a": 1, "b": 0}


def test_an_engine_that_does_not_answer_for_a_moment_is_not_given_up() -> None:
    old = RevisionPods("a", wanted=2, pods=2, ready=0, faltering=2)
    new = RevisionPods("b", wanted=0, pods=0, ready=0)
    step = plan_rollout((old, new), "b", 2, rules(SURGE), 0)
    assert step.replicas == {"a": 2, "b": 1}
    assert step.wake_in_s  # it will not be called faltering forever


def test_pods_that_no_device_was_found_for_do_not_keep_others_from_going() -> None:
    # Three replicas and two devices: the pod that waits is as missing as one that goes, and two may be missing.
    old = RevisionPods("a", wanted=2, pods=2, ready=2)
    new = RevisionPods("b", wanted=1, pods=1, ready=0, unscheduled_since_s=0, surge_refused=True)
    assert plan_rollout((old, new), "b", 3, rules(AUTO, 2), 99).replicas == {"a": 1, "b": 1}
    step = plan_rollout((old, new), "b", 3, rules(AUTO, 1), 99)
    assert (step.replicas, step.phase) == ({"a": 2, "b": 1}, RolloutPhase.WAITING_FOR_DEVICE)
    assert "maxUnavailable" in step.message


def test_the_last_engine_stays_even_where_more_may_be_missing() -> None:
    # One of two replicas has no device, and two may be missing: still the other one is the last that serves.
    old = RevisionPods("a", wanted=1, pods=1, ready=1)
    new = RevisionPods("b", wanted=1, pods=1, ready=0, unscheduled_since_s=0)
    step = plan_rollout((old, new), "b", 2, rules(AUTO, 2), 99)
    assert (step.replicas, step.refuse_surge) == ({"a": 1, "b": 1}, False)
    assert plan_rollout((old, new), "b", 2, rules(AUTO, 2, allow_downtime=True), 99).replicas == {"a": 0, "b": 1}


def test_a_waiting_pod_is_given_the_time_to_take_a_device_that_is_coming_free() -> None:
    old = RevisionPods("a", wanted=2, pods=2, ready=2, leaving=1)
    new = RevisionPods("b", wanted=1, pods=1, ready=0, unscheduled_since_s=0)
    assert plan_rollout((old, new), "b", 4, rules(IN_PLACE, 3), 99).replicas == {"a": 2, "b": 1}


def test_a_lost_pod_is_replaced_while_the_new_revision_has_not_shown_that_it_works() -> None:
    old = RevisionPods("a", wanted=2, pods=2, ready=1)
    starting = RevisionPods("b", wanted=1, pods=1, ready=0)
    assert plan_rollout((old, starting), "b", 2, rules(SURGE), 0).replicas == {"a": 2, "b": 1}
    waiting = RevisionPods("b", wanted=1, pods=1, ready=0, unscheduled_since_s=0)
    assert plan_rollout((old, waiting), "b", 2, rules(SURGE), 0).replicas == {"a": 1, "b": 1}
    ready = RevisionPods("b", wanted=1, pods=1, ready=1)
    assert plan_rollout((old, ready), "b", 2, rules(SURGE), 0).replicas == {"a": 1, "b": 1}


def test_in_place_a_faltering_engine_goes_before_one_that_serves() -> None:
    old = RevisionPods("a", wanted=3, pods=3, ready=2, faltering=1)
    new = RevisionPods("b", wanted=0, pods=0, ready=0)
    assert plan_rollout((old, new), "b", 3, rules(IN_PLACE), 0).replicas == {"a": 2, "b": 0}
    alone = RevisionPods("a", wanted=2, pods=2, ready=0, faltering=2)  # nobody serves: it is better to wait a moment
    assert plan_rollout((alone, new), "b", 2, rules(IN_PLACE), 0).replicas == {"a": 2, "b": 0}


def test_faltering_engines_go_when_the_new_ones_are_all_ready() -> None:
    old = RevisionPods("a", wanted=1, pods=1, ready=0, faltering=1)
    new = RevisionPods("b", wanted=2, pods=2, ready=2)
    assert plan_rollout((old, new), "b", 2, rules(SURGE), 0).replicas == {"a": 0, "b": 2}


def test_a_revision_that_begins_to_fail_is_given_no_more_pods() -> None:
    old = RevisionPods("a", wanted=2, pods=2, ready=1)
    new = RevisionPods("b", wanted=2, pods=2, ready=1, unscheduled_since_s=0, failing="It crashes.")
    step = plan_rollout((old, new), "b", 5, rules(SURGE), 0)
    assert (step.replicas, step.phase) == ({"a": 2, "b": 2}, RolloutPhase.FAILED)


def test_pods_on_their_way_out_are_not_asked_for_again_before_they_are_gone() -> None:
    old = RevisionPods("a", wanted=2, pods=2, ready=2)
    new = RevisionPods("b", wanted=0, pods=1, ready=1)
    assert plan_rollout((old, new), "b", 4, rules(SURGE), 0).replicas == {"a": 2, "b": 0}


def test_the_planner_asks_to_be_called_when_the_surge_timeout_ends() -> None:
    cluster = serving(2, devices=2)
    replay(cluster, "b", 2, rules(AUTO), rounds=3)
    waiting = cluster.plan("b", 2, rules(AUTO))
    assert waiting.wake_in_s is not None
    cluster.now_s += waiting.wake_in_s
    assert cluster.plan("b", 2, rules(AUTO)).refuse_surge
