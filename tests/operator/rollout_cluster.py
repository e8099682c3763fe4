"""A cluster in miniature for the rollout's tests: devices, pods, a ReplicaSet controller, a scheduler, a clock.

Everything happens in single steps, so that a test (or hypothesis) decides the order.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from random import Random

from pagelet_api.v1alpha1 import RolloutStrategy
from pagelet_operator.rollout import RevisionPods, RolloutSettings, RolloutStep, plan_rollout

TIMEOUT_S = 20


class State(IntEnum):
    """In the order in which a ReplicaSet gives its pods up."""

    PENDING = 0
    STARTING = 1
    FAILED = 2
    FALTERING = 3
    READY = 4
    LEAVING = 5


@dataclass(eq=False)
class Pod:
    revision: str
    state: State
    since_s: float
    bound: bool = True


@dataclass
class Cluster:
    devices: int
    revisions: list[str]
    bad: frozenset[str] = frozenset()
    wanted: dict[str, int] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    pods: list[Pod] = field(default_factory=list)
    now_s: float = 1000.0
    writes: int = 0
    on_change: Callable[[], None] = lambda: None

    def of(self, revision: str, *states: State) -> list[Pod]:
        return [pod for pod in self.pods if pod.revision == revision and (not states or pod.state in states)]

    def ready(self, revisions: Iterable[str] | None = None) -> int:
        chosen = self.revisions if revisions is None else revisions
        return sum(len(self.of(revision, State.READY)) for revision in chosen)

    def observed(self) -> tuple[RevisionPods, ...]:
        return tuple(self._observed(revision) for revision in self.revisions)

    def _observed(self, revision: str) -> RevisionPods:
        waiting = [pod.since_s for pod in self.of(revision, State.PENDING)]
        leaving = len(self.of(revision, State.LEAVING))
        return RevisionPods(
            revision,
            wanted=self.wanted.get(revision, 0),
            pods=len(self.of(revision)) - leaving,
            ready=len(self.of(revision, State.READY)),
            faltering=len(self.of(revision, State.FALTERING)),
            leaving=leaving,
            unscheduled_since_s=min(waiting, default=None),
            failing="Its engine crashes" if self.of(revision, State.FAILED) else "",
            surge_refused=revision in self.refused,
        )

    def plan(self, target: str, replicas: int, settings: RolloutSettings) -> RolloutStep:
        """Plan and write, as the operator does."""
        if target and target not in self.revisions:
            self.revisions.append(target)
        step = plan_rollout(self.observed(), target, replicas, settings, self.now_s)
        before = {revision: self.wanted.get(revision, 0) for revision in self.revisions}
        if step.replicas != before:
            self.writes += 1
        self.wanted = dict(step.replicas)
        if step.refuse_surge:
            self.refused.add(target)
        return step

    # What others do, one pod at a time.

    def possible(self) -> list[Callable[[], None]]:
        """Every single thing that could happen next; none: nothing will, unless time passes or somebody writes."""
        steps: list[Callable[[], None]] = []
        for revision in self.revisions:
            living = [pod for pod in self.of(revision) if pod.state is not State.LEAVING]
            wanted = self.wanted.get(revision, 0)
            if len(living) < wanted:
                steps.append(partial(self._create, revision))
            elif len(living) > wanted:
                steps.append(partial(self._delete, min(living, key=lambda one: one.state)))
        free = self.devices > sum(pod.bound for pod in self.pods)
        for pod in self.pods:
            if pod.state is State.PENDING and free:
                steps.append(partial(self._bind, pod))
            elif pod.state is State.STARTING:
                steps.append(partial(self._start, pod))
            elif pod.state is State.LEAVING:
                steps.append(partial(self.pods.remove, pod))
            elif pod.state is State.FALTERING:
                steps.append(partial(self._become, pod, State.READY))
        return steps

    def round(self) -> None:
        """What happens between two looks at a table: all that was possible at its beginning, then a few seconds."""
        for step in self.possible():
            step()
        self.now_s += 5

    def disturb(self, random: Random) -> None:
        """A node goes, or an engine does not answer for a moment."""
        if self.pods:
            pod = random.choice(self.pods)
            if pod.state is State.READY and random.random() < 0.5:
                self._become(pod, State.FALTERING)
            elif pod.state is not State.LEAVING:
                self.pods.remove(pod)

    def _create(self, revision: str) -> None:
        self.pods.append(Pod(revision, State.PENDING, self.now_s, bound=False))

    def _delete(self, pod: Pod) -> None:
        if pod.bound:
            self._become(pod, State.LEAVING)
        else:
            self.pods.remove(pod)

    def _bind(self, pod: Pod) -> None:
        if self.devices > sum(other.bound for other in self.pods):
            pod.bound = True
            self._become(pod, State.STARTING)

    def _start(self, pod: Pod) -> None:
        if pod.state is State.STARTING:
            self._become(pod, State.FAILED if pod.revision in self.bad else State.READY)

    def _become(self, pod: Pod, state: State) -> None:
        pod.state, pod.since_s = state, self.now_s


def rules(strategy: RolloutStrategy, max_unavailable: int = 1, *, allow_downtime: bool = False) -> RolloutSettings:
    return RolloutSettings(strategy, TIMEOUT_S, max_unavailable, allow_downtime)


def serving(replicas: int, devices: int, bad: str = "") -> Cluster:
    """A cluster in which revision a has all its replicas ready."""
    pods = [Pod("a", State.READY, 0) for _ in range(replicas)]
    return Cluster(devices, ["a"], frozenset(bad), {"a": replicas}, pods=pods)
