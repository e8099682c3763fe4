"""What the rollout planner is told, and what it answers. Values alone: no decision is taken here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pagelet_api.v1alpha1 import RolloutStrategy


@dataclass(frozen=True, slots=True)
class RevisionPods:
    """One revision and its pods. Times in seconds since the epoch."""

    hash: str
    wanted: int
    """Replicas its ReplicaSet asks for; 0 when there is no ReplicaSet yet."""
    pods: int
    """Pods that exist and are not being deleted."""
    ready: int
    """Of these, pods that are ready."""
    leaving: int = 0
    """Pods that are being deleted and still exist: they hold their devices."""
    faltering: int = 0
    """Pods that exist and served until a moment ago: not ready, but not to be given up either."""
    unscheduled_since_s: float | None = None
    """Since when its longest-waiting pod has had no node; None: all have one."""
    failing: str = ""
    """Why its pods will not become ready by themselves (a sentence); empty: nothing is known to be wrong."""
    surge_refused: bool = False
    """Whether Auto found no device for it in time, and goes in place (remembered on its ReplicaSet)."""

    @property
    def staying(self) -> int:
        """Ready pods that remain when the ReplicaSet has shrunk to what is wanted: it deletes others first."""
        return min(self.ready, self.wanted)

    @property
    def protected(self) -> int:
        """Pods that serve, or did until a moment ago."""
        return min(self.ready + self.faltering, self.wanted)

    @property
    def is_failing(self) -> bool:
        return bool(self.failing) and self.ready < max(self.pods, self.wanted)


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    strategy: RolloutStrategy
    surge_timeout_s: int
    max_unavailable: int
    allow_downtime: bool


class RolloutPhase(StrEnum):
    DONE = "Done"  # the target has all replicas, all ready, and no other revision has a pod
    ROLLING = "Rolling"  # something was just asked for, or is on its way
    WAITING_FOR_DEVICE = "WaitingForDevice"
    FAILED = "Failed"  # the target's pods fail: nothing more is written until the spec changes or they recover
    HELD = "Held"  # there is no target: the spec was refused, or its model is not there yet


@dataclass(frozen=True, slots=True)
class RolloutStep:
    replicas: Mapping[str, int] = field(default_factory=dict)
    """Replicas wanted by revision hash; every revision given has one."""
    phase: RolloutPhase = RolloutPhase.DONE
    message: str = ""
    """One sentence: what happens now, what it waits for, or what is wrong."""
    refuse_surge: bool = False
    """The target's surge pod found no device in time: remember it on its ReplicaSet with the same write."""
    wake_in_s: float | None = None
    """When to plan again though nothing changes."""
