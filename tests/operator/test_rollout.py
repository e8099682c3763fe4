"""Whole rollouts, replayed step by step; and what holds in any state, in any order of events.

A row of a table: for each revision its ready pods, the replicas asked for, and the pods that still drain; the phase.
"""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pagelet_api.v1alpha1 import RolloutStrategy
from pagelet_operator.rollout import RevisionPods, RolloutPhase, RolloutSettings, RolloutStep, plan_rollout

from .rollout_cluster import Cluster, Pod, State

AUTO, SURGE, IN_PLACE = RolloutStrategy.AUTO, RolloutStrategy.SURGE, RolloutStrategy.IN_PLACE
TIMEOUT_S = 20


def rules(strategy: RolloutStrategy, max_unavailable: int = 1, *, allow_downtime: bool = False) -> RolloutSettings:
    return RolloutSettings(strategy, TIMEOUT_S, max_unavailable, allow_downtime)


def serving(replicas: int, devices: int, bad: str = "") -> Cluster:
    """A cluster in which revision a has all its replicas ready."""
    pods = [Pod("a", State.READY, 0) for _ in range(replicas)]
    return Cluster(devices, ["a"], frozenset(bad), {"a": replicas}, pods=pods)


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


# What holds in any state.

all_rules = st.builds(
    RolloutSettings,
    strategy=st.sampled_from(RolloutStrategy),
    surge_timeout_s=st.just(TIMEOUT_S),
    max_unavailable=st.integers(1, 3),
    allow_downtime=st.booleans(),
)


@st.composite
def any_revision(draw: st.DrawFn, name: str) -> RevisionPods:
    pods = draw(st.integers(0, 4))
    ready = draw(st.integers(0, pods))
    faltering = draw(st.integers(0, pods - ready))
    return RevisionPods(
        name,
        wanted=draw(st.integers(0, 4)),
        pods=pods,
        ready=ready,
        faltering=faltering,
        leaving=draw(st.integers(0, 2)),
        unscheduled_since_s=draw(st.sampled_from([None, 95.0, 0.0])) if pods > ready + faltering else None,
        failing=draw(st.sampled_from(["", "", "It crashes."])),
        surge_refused=draw(st.booleans()),
    )


@st.composite
def any_state(draw: st.DrawFn) -> tuple[tuple[RevisionPods, ...], str]:
    names = "abcd"[: draw(st.integers(1, 4))]
    revisions = tuple(draw(any_revision(name)) for name in names)
    return revisions, draw(st.sampled_from(names))


def after(revisions: tuple[RevisionPods, ...], step: RolloutStep, target: str) -> tuple[RevisionPods, ...]:
    """What is observed when the step is written and nobody else has done anything yet."""
    refused = {target} if step.refuse_surge else set()
    return tuple(
        replace(r, wanted=step.replicas[r.hash], surge_refused=r.surge_refused or r.hash in refused) for r in revisions
    )


@given(any_state(), st.integers(0, 4), all_rules)
def test_planning_again_asks_for_the_same(
    state: tuple[tuple[RevisionPods, ...], str], replicas: int, settings: RolloutSettings
) -> None:
    revisions, target = state
    step = plan_rollout(revisions, target, replicas, settings, 100)
    again = plan_rollout(after(revisions, step, target), target, replicas, settings, 100)
    assert again.replicas == step.replicas
    assert not again.refuse_surge
    assert plan_rollout(revisions, target, replicas, settings, 100) == step


@given(any_state(), st.integers(0, 4), all_rules)
def test_a_step_is_complete_and_says_what_it_does(
    state: tuple[tuple[RevisionPods, ...], str], replicas: int, settings: RolloutSettings
) -> None:
    revisions, target = state
    step = plan_rollout(revisions, target, replicas, settings, 100)
    assert list(step.replicas) == [revision.hash for revision in revisions]
    assert all(0 <= step.replicas[r.hash] <= (replicas if r.hash == target else r.wanted) for r in revisions)
    assert step.message.endswith(".")
    assert step.wake_in_s is None or step.wake_in_s > 0


def floor_of(replicas: int, settings: RolloutSettings, *, in_place: bool) -> int:
    if not in_place or (replicas == 1 and not settings.allow_downtime):
        return replicas
    return max(replicas - settings.max_unavailable, 0 if settings.allow_downtime else 1)


def goes_in_place(settings: RolloutSettings, *, refused: bool) -> bool:
    return settings.strategy is IN_PLACE or (settings.strategy is AUTO and refused)


@given(any_state(), st.integers(1, 4), all_rules)
def test_a_step_takes_no_pod_that_serves_below_what_the_strategy_allows(
    state: tuple[tuple[RevisionPods, ...], str], replicas: int, settings: RolloutSettings
) -> None:
    revisions, target = state
    step = plan_rollout(revisions, target, replicas, settings, 100)
    before = sum(min(revision.ready, revision.wanted) for revision in revisions)
    remaining = sum(min(revision.ready, step.replicas[revision.hash]) for revision in revisions)
    refused = step.refuse_surge or any(r.surge_refused for r in revisions if r.hash == target)
    assert remaining >= min(before, floor_of(replicas, settings, in_place=goes_in_place(settings, refused=refused)))


@given(any_state(), st.integers(1, 4), all_rules)
def test_a_revision_that_fails_takes_and_gets_nothing_more(
    state: tuple[tuple[RevisionPods, ...], str], replicas: int, settings: RolloutSettings
) -> None:
    revisions, target = state
    revisions = tuple(replace(r, failing="It crashes." if r.hash == target else "") for r in revisions)
    new = next(revision for revision in revisions if revision.hash == target)
    step = plan_rollout(revisions, target, replicas, settings, 100)
    if new.is_failing:
        assert step.phase is RolloutPhase.FAILED
        before = sum(min(revision.ready, revision.wanted) for revision in revisions)
        assert sum(min(r.ready, step.replicas[r.hash]) for r in revisions) >= min(before, replicas)
        if any(step.replicas[r.hash] for r in revisions if r is not new):
            assert step.replicas[target] == min(new.wanted, replicas)
        if sum(r.wanted for r in revisions) <= replicas:
            assert step.replicas == {r.hash: r.wanted for r in revisions} or not any(
                r.wanted for r in revisions if r is not new
            )


@given(any_state(), st.integers(1, 4), all_rules)
def test_a_step_asks_for_no_more_devices_than_the_strategy_allows(
    state: tuple[tuple[RevisionPods, ...], str], replicas: int, settings: RolloutSettings
) -> None:
    revisions, target = state
    step = plan_rollout(revisions, target, replicas, settings, 100)
    new = next(revision for revision in revisions if revision.hash == target)
    olds_hold = sum(max(r.pods, step.replicas[r.hash]) + r.leaving for r in revisions if r is not new)
    if step.replicas[target] > new.wanted and olds_hold:
        refused = step.refuse_surge or new.surge_refused
        sole = replicas == 1 and not settings.allow_downtime
        limit = replicas if goes_in_place(settings, refused=refused) and not sole else replicas + 1
        assert olds_hold + max(new.pods, step.replicas[target]) + new.leaving <= limit


# What holds in any order of events.


def any_cluster(random: Random, replicas: int, settings: RolloutSettings, bad: str = "") -> Cluster:
    """Pods of up to three revisions in any state, and devices for them and for the rollout."""
    names = ["a", "b", "c"][: random.randint(1, 3)]
    bad_ones = frozenset(bad)
    pods = []
    for name in names:
        for _ in range(random.randint(0, 3)):
            state = random.choice([s for s in State if (s is not State.FAILED or name in bad_ones)])
            if name in bad_ones and state in (State.READY, State.FALTERING):
                state = State.FAILED
            pods.append(Pod(name, state, 1000.0 - random.randint(0, 60), bound=state is not State.PENDING))
    wanted = {name: random.randint(0, 3) for name in names}
    needs_one_more = settings.strategy is SURGE or (replicas == 1 and not settings.allow_downtime)
    devices = max(replicas + needs_one_more, sum(pod.bound for pod in pods))
    return Cluster(devices, names, bad_ones, wanted, pods=pods)


def run(
    cluster: Cluster, target: str, replicas: int, settings: RolloutSettings, random: Random, *, disturbed: int = 0
) -> RolloutStep:
    """Plan and let things happen in any order, until nothing does any more."""
    for moment in range(3000):
        step = cluster.plan(target, replicas, settings)
        for _ in range(random.randint(0, 3)):
            if possible := cluster.possible():
                random.choice(possible)()
                cluster.on_change()
        if moment < disturbed and random.random() < 0.3:
            cluster.disturb(random)
        cluster.now_s += random.random() * 5
        if moment >= disturbed and not cluster.possible() and step.wake_in_s is None:
            settled = cluster.plan(target, replicas, settings)
            if settled.replicas == step.replicas and not cluster.possible() and settled.wake_in_s is None:
                return settled
    raise AssertionError(f"does not come to rest: {cluster}")


seeds = st.integers(0, 2**32)


@settings(max_examples=300)
@given(seeds, st.integers(0, 4), all_rules)
def test_a_rollout_ends_with_all_replicas_of_its_target(seed: int, replicas: int, settings: RolloutSettings) -> None:
    random = Random(seed)
    cluster = any_cluster(random, replicas, settings)
    target = random.choice([*cluster.revisions, "new"])
    step = run(cluster, target, replicas, settings, random, disturbed=random.choice([0, 0, 20]))
    assert step.phase is RolloutPhase.DONE, (step, cluster)
    assert len(cluster.of(target, State.READY)) == len(cluster.pods) == replicas


@settings(max_examples=300)
@given(seeds, st.integers(1, 4), all_rules)
def test_engines_that_serve_never_become_fewer_than_allowed(
    seed: int, replicas: int, settings: RolloutSettings
) -> None:
    random = Random(seed)
    cluster = any_cluster(random, replicas, settings)
    target = random.choice([*cluster.revisions, "new"])
    reached = 0

    def look() -> None:
        nonlocal reached
        floor = floor_of(replicas, settings, in_place=goes_in_place(settings, refused=target in cluster.refused))
        assert cluster.ready() >= min(reached, floor)
        # A pod that is ready and given up already served nobody when that was decided, or enough others did.
        remaining = sum(min(cluster.ready([name]), cluster.wanted.get(name, 0)) for name in cluster.revisions)
        reached = max(min(reached, floor), min(remaining, floor))

    cluster.on_change = look
    run(cluster, target, replicas, settings, random)


@settings(max_examples=300)
@given(seeds, st.integers(1, 4), all_rules)
@example(0, 4, RolloutSettings(IN_PLACE, TIMEOUT_S, 3, False))
def test_a_bad_revision_costs_one_pod_at_most(seed: int, replicas: int, settings: RolloutSettings) -> None:
    random = Random(seed)
    cluster = serving(replicas, devices=replicas + random.randint(0, 2), bad="b")
    step = run(cluster, "b", replicas, settings, random)
    lost = replicas - cluster.ready()
    assert lost <= (0 if settings.strategy is SURGE else 1)
    assert cluster.ready() or settings.allow_downtime
    assert step.phase in (RolloutPhase.FAILED, RolloutPhase.WAITING_FOR_DEVICE)
    assert len(cluster.of("b")) == 1 or cluster.ready() == 0


@settings(max_examples=200)
@given(seeds, st.integers(0, 4), all_rules)
def test_a_rollout_needs_few_writes(seed: int, replicas: int, settings: RolloutSettings) -> None:
    random = Random(seed)
    cluster = any_cluster(random, replicas, settings)
    pods = len(cluster.pods) + sum(cluster.wanted.values())
    run(cluster, "new", replicas, settings, random)
    assert cluster.writes <= 2 * (replicas + pods) + 4


@settings(max_examples=200)
@given(seeds, all_rules)
def test_any_series_of_edits_ends_with_the_last_one(seed: int, settings: RolloutSettings) -> None:
    random = Random(seed)
    cluster = any_cluster(random, 4, settings)
    cluster.devices = max(cluster.devices, 5)
    target, replicas = "a", 2
    for _ in range(random.randint(1, 12)):
        target, replicas = random.choice(["a", "b", "c", "d", "e"]), random.randint(0, 4)
        for _ in range(random.randint(1, 6)):
            cluster.plan(target, replicas, settings)
            if possible := cluster.possible():
                random.choice(possible)()
            cluster.now_s += 3
    assert run(cluster, target, replicas, settings, random).phase is RolloutPhase.DONE
