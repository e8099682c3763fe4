"""How many engine pods each revision should have now: one step of a rollout, for devices that are scarce.

A pure planner, called again after every change; what it must remember is read from the cluster. Knows no objects: the
caller has counted. Source of the shape: LeaderWorkerSet's rollout planner.

    Surge     new +1 beyond `replicas`; when it is ready, old −1; and again
    In place  old −1; when its pod is gone (a draining pod holds its device), new +1; when it is ready, again
    Auto      Surge; In place when the surge pod has found no device within the timeout. It is deleted first

Whatever the strategy: the first pod of a new revision must be ready before there is a second one, while pods of other
revisions serve; engines that serve never become fewer than the strategy allows; a pod that serves nobody may go first.
"""

from pagelet_operator.rollout.counts import next_counts
from pagelet_operator.rollout.report import describe
from pagelet_operator.rollout.state import RevisionPods, RolloutPhase, RolloutSettings, RolloutStep

__all__ = ["RevisionPods", "RolloutPhase", "RolloutSettings", "RolloutStep", "plan_rollout"]


def plan_rollout(
    revisions: tuple[RevisionPods, ...],
    target: str,
    replicas: int,
    settings: RolloutSettings,
    now_s: float,
) -> RolloutStep:
    """One step towards `replicas` pods of revision `target` ("" : none, keep what is) and none of the others.

    `revisions` are ordered from oldest to newest; the target is among them, with wanted=0 if it is new. Planning again
    on what a step asked for, before anything else has changed, asks for the same.
    """
    if not target:
        # Nobody knows what should run, so nothing that runs is touched, not even to scale it.
        kept = {revision.hash: revision.wanted for revision in revisions}
        return RolloutStep(kept, RolloutPhase.HELD, "The engines stay as they are until there is a revision to run.")
    counts = next_counts(revisions, target, replicas, settings, now_s)
    return describe(counts, revisions, target, replicas, settings, now_s)
