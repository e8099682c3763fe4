"""The replicas that each revision should have now: the decision itself, in numbers.

Counts what is on its way as if it had arrived: pods that were asked for hold a device already, pods that were given up
hold theirs until they are gone, and serve no more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pagelet_api.v1alpha1 import RolloutStrategy

from pagelet_operator.rollout.state import RevisionPods, RolloutSettings


@dataclass(frozen=True, slots=True)
class Counts:
    replicas: dict[str, int]
    in_place: bool = False
    refuse_surge: bool = False
    """The surge timeout has just passed without a device."""


def next_counts(
    revisions: Sequence[RevisionPods], target: str, replicas: int, settings: RolloutSettings, now_s: float
) -> Counts:
    if replicas == 0:
        return Counts({revision.hash: 0 for revision in revisions})
    new = next(revision for revision in revisions if revision.hash == target)
    olds = [revision for revision in revisions if revision.hash != target]
    refuse_surge = _gives_up_surge(new, olds, replicas, settings, now_s)
    in_place = refuse_surge or _goes_in_place(new, replicas, settings)
    limit = replicas if in_place else replicas + 1

    count = min(new.wanted, replicas)
    kept = _without_idle(olds, new, limit - count)
    _take_surplus(kept, olds, min(new.ready, count), replicas)
    ready = sum(min(old.ready, kept[old.hash]) for old in olds) + min(new.ready, count)

    # A waiting surge pod goes before an old one does: should a device turn up just then, nothing was lost.
    excess = sum(kept.values()) + count - limit
    if in_place and excess > 0 and new.unscheduled_since_s is not None and not new.is_failing:
        count -= min(excess, count - min(new.ready, count))

    goal = replicas if new.staying or not any(old.protected for old in olds) else 1
    if in_place and not new.is_failing and not new.leaving and new.pods <= count:
        missing = goal - count
        needed = missing - (replicas - sum(kept.values()) - count) if missing > 0 else 0
        if is_overdue(new, settings, now_s) and not any(old.leaving or old.pods > kept[old.hash] for old in olds):
            # It is short of devices though it is within its replicas: an old pod's device is the only one to be had.
            needed = max(needed, 1)
        _make_room(kept, olds, needed, ready - _in_place_floor(replicas, settings))

    wanted = {**kept, target: _raised(count, goal, limit, new, olds, kept)}
    return Counts({revision.hash: wanted[revision.hash] for revision in revisions}, in_place, refuse_surge)


def is_sole(replicas: int, settings: RolloutSettings) -> bool:
    """Whether the one engine must not go before another serves: then no strategy can do without one more device."""
    return replicas == 1 and not settings.allow_downtime


def is_overdue(new: RevisionPods, settings: RolloutSettings, now_s: float) -> bool:
    since_s = new.unscheduled_since_s
    return since_s is not None and now_s >= since_s + settings.surge_timeout_s


def _goes_in_place(new: RevisionPods, replicas: int, settings: RolloutSettings) -> bool:
    if is_sole(replicas, settings) or settings.strategy is RolloutStrategy.SURGE:
        return False
    return settings.strategy is RolloutStrategy.IN_PLACE or new.surge_refused


def _gives_up_surge(
    new: RevisionPods, olds: Sequence[RevisionPods], replicas: int, settings: RolloutSettings, now_s: float
) -> bool:
    if settings.strategy is not RolloutStrategy.AUTO or new.surge_refused or new.is_failing:
        return False
    if is_sole(replicas, settings) or not is_overdue(new, settings, now_s):
        return False
    # In place must be possible: otherwise the waiting pod may as well go on waiting.
    ready = sum(old.staying for old in olds)
    return ready > 0 and ready + new.staying > _in_place_floor(replicas, settings)


def _in_place_floor(replicas: int, settings: RolloutSettings) -> int:
    """Engines that must go on serving."""
    return max(replicas - settings.max_unavailable, 0 if settings.allow_downtime else 1)


def _without_idle(olds: Sequence[RevisionPods], new: RevisionPods, room: int) -> dict[str, int]:
    """The old revisions without the pods that serve nobody: a broken revision must not stand in the way of its fix.

    They stay, as far as there is room, while the new revision has its device and has not shown yet that it is any
    better: some may be replacements of pods that served well until a node went away.
    """
    spare = 0
    if new.is_failing or (new.pods and not new.staying and new.unscheduled_since_s is None):
        spare = max(0, room - sum(old.protected for old in olds))
    kept = {}
    for old in olds:
        idle = min(old.wanted - old.protected, spare)
        spare -= idle
        kept[old.hash] = old.protected + idle
    return kept


def _take_surplus(kept: dict[str, int], olds: Sequence[RevisionPods], new_ready: int, replicas: int) -> None:
    """Let those go whose work others do already, the oldest revision's first."""
    surplus = new_ready + sum(min(old.ready, kept[old.hash]) for old in olds) - replicas
    for old in olds:
        ready = min(old.ready, kept[old.hash])
        taken = min(ready, max(0, surplus))
        surplus -= taken
        if taken or new_ready >= replicas:
            kept[old.hash] = ready - taken  # those that are not ready go before one that is


def _make_room(kept: dict[str, int], olds: Sequence[RevisionPods], needed: int, spare: int) -> None:
    """Let as many go as are needed, the oldest revision's first; at most `spare` that are ready."""
    if spare < 0:
        return  # too few serve as it is
    for old in olds:
        ready = min(old.ready, kept[old.hash])
        idle = kept[old.hash] - ready  # faltering: its ReplicaSet deletes these first
        taken = max(0, min(needed, idle + min(ready, spare)))
        needed -= taken
        spare -= max(0, taken - idle)
        kept[old.hash] -= taken


def _raised(
    count: int, goal: int, limit: int, new: RevisionPods, olds: Sequence[RevisionPods], kept: dict[str, int]
) -> int:
    """As many of the new revision, up to `goal`, as there is room for beside pods that exist, leaving ones included."""
    by_olds = sum(max(old.pods, kept[old.hash]) + old.leaving for old in olds)
    if not by_olds:
        return goal  # alone: scaling is no rollout
    if new.pods > count or (new.is_failing and any(kept.values())):
        return count
    return max(count, min(goal, limit - by_olds - new.leaving))
