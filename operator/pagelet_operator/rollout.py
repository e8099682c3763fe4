"""How many engine pods each revision should have now: one step of a rollout, for devices that are scarce.

A pure planner, called again after every change; what it must remember is read from the cluster. Knows no objects: the
caller has counted. Source of the shape: LeaderWorkerSet's rollout planner.
"""

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
    unscheduled_since_s: float | None = None
    """Since when its longest-waiting pod has had no node; None: all have one."""
    failing: str = ""
    """Why its pods will not become ready by themselves (a sentence); empty: nothing is known to be wrong."""
    surge_refused: bool = False
    """Whether Auto found no device for it in time, and goes in place (remembered on its ReplicaSet)."""


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


def plan_rollout(
    revisions: tuple[RevisionPods, ...],
    target: str,
    replicas: int,
    settings: RolloutSettings,
    now_s: float,
) -> RolloutStep:
    """One step towards `replicas` pods of revision `target` ("" : none, keep what is) and none of the others.

    `revisions` are ordered from oldest to newest; the target is among them, with wanted=0 if it is new.
    """
    raise NotImplementedError
