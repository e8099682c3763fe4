"""What holds for rollouts in any state, and in any order of events."""

from dataclasses import replace
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st
from pagelet_api.v1alpha1 import RolloutStrategy
from pagelet_operator.rollout import RevisionPods, RolloutPhase, RolloutSettings, RolloutStep, plan_rollout

from .rollout_cluster import TIMEOUT_S, Cluster, Pod, State, serving

AUTO, SURGE, IN_PLACE = RolloutStrategy.AUTO, RolloutStrategy.SURGE, RolloutStrategy.IN_PLACE

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
