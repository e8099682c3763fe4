"""A step in words: its phase, the sentence that people read, and when to look again.

The sentences name no moment and count nothing that flickers: each change of one is a write to the API server.
"""

from collections.abc import Iterator, Sequence

from pagelet_api.v1alpha1 import RolloutStrategy

from pagelet_operator.rollout.counts import Counts, is_overdue, is_sole
from pagelet_operator.rollout.state import RevisionPods, RolloutPhase, RolloutSettings, RolloutStep

PATIENCE_S = 10.0
"""How long a pod may be without a node before that is called waiting: the scheduler needs a moment for every pod."""
_LOOK_AGAIN_S = 30.0  # pods that falter or leave may stop to count though no event says so


def describe(
    counts: Counts,
    revisions: Sequence[RevisionPods],
    target: str,
    replicas: int,
    settings: RolloutSettings,
    now_s: float,
) -> RolloutStep:
    phase, message = _phase(counts, revisions, target, replicas, settings, now_s)
    wake_in_s = min(_moments(counts, revisions, target, settings, now_s), default=None)
    return RolloutStep(counts.replicas, phase, message, counts.refuse_surge, wake_in_s)


def _phase(
    counts: Counts,
    revisions: Sequence[RevisionPods],
    target: str,
    replicas: int,
    settings: RolloutSettings,
    now_s: float,
) -> tuple[RolloutPhase, str]:
    new = next(revision for revision in revisions if revision.hash == target)
    olds = [revision for revision in revisions if revision.hash != target]
    going = sum(revision.leaving + max(0, revision.pods - counts.replicas[revision.hash]) for revision in revisions)
    if replicas == 0:
        if going:
            return RolloutPhase.ROLLING, f"{_are(going)} being shut down: no replicas are wanted."
        return RolloutPhase.DONE, "No replicas are wanted."
    serving = sum(old.ready for old in olds)
    if new.is_failing:
        stays = ""
        if any(old.pods for old in olds):
            stays = f" Earlier revisions are left alone ({_are(serving)} ready): correct the spec, or change it back."
        return RolloutPhase.FAILED, f"Revision {target} does not become ready: {new.failing.rstrip('. ')}.{stays}"
    if new.ready == new.pods == new.wanted == replicas and not any(
        old.pods or old.leaving or old.wanted for old in olds
    ):
        return RolloutPhase.DONE, f"{_are(replicas)} ready, of revision {target}."
    if counts.refuse_surge:
        return RolloutPhase.ROLLING, (
            f"No device was free for one more engine within {settings.surge_timeout_s} s: "
            "from now on an old one goes before a new one comes."
        )
    unchanged = all(counts.replicas[revision.hash] == revision.wanted for revision in revisions)
    if unchanged and new.unscheduled_since_s is not None and now_s >= new.unscheduled_since_s + PATIENCE_S:
        return RolloutPhase.WAITING_FOR_DEVICE, _waiting(counts, new, serving, replicas, settings, now_s)
    if going:
        return RolloutPhase.ROLLING, (
            f"{_are(going)} on the way out: streams are finished, and the device is held, until a pod is gone."
        )
    return RolloutPhase.ROLLING, f"{new.ready} of {replicas} wanted engines of revision {target} ready."


def _waiting(
    counts: Counts, new: RevisionPods, serving: int, replicas: int, settings: RolloutSettings, now_s: float
) -> str:
    sentence = f"No device is free for an engine of revision {new.hash}"
    if not serving:
        return f"{sentence}."
    if is_sole(replicas, settings):
        return f"{sentence}, and the one that serves does not go before another does (allowDowntime is false)."
    if settings.strategy is RolloutStrategy.SURGE:
        return f"{sentence}, and with strategy Surge no other goes before it is ready."
    if counts.in_place or is_overdue(new, settings, now_s):
        return (
            f"{sentence}, and no other may go: {max(0, replicas - serving - new.ready)} of {replicas} missing already "
            f"(maxUnavailable is {settings.max_unavailable}); free a device, or lower replicas."
        )
    return f"{sentence} yet; if none is within {settings.surge_timeout_s} s, an old one goes first."


def _moments(
    counts: Counts, revisions: Sequence[RevisionPods], target: str, settings: RolloutSettings, now_s: float
) -> Iterator[float]:
    """In how many seconds something will be different though nothing happens."""
    if any(revision.faltering or revision.leaving for revision in revisions):
        yield _LOOK_AGAIN_S
    for revision in revisions:
        if revision.hash == target and revision.unscheduled_since_s is not None:
            for delay_s in (PATIENCE_S, float(settings.surge_timeout_s)):
                left_s = revision.unscheduled_since_s + delay_s - now_s
                if left_s > 0:
                    yield left_s


def _are(number: int) -> str:
    return f"{number} engine is" if number == 1 else f"{number} engines are"
