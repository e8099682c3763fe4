"""Why pods do not serve: of everything that is wrong, the worst, as one reason and one sentence to act on.

Sentences name no moment and count no restarts: each change of one is a write to the API server. Decides nothing: what a
rollout makes of it, and which condition shows it, are other rooms.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pagelet_api import names

from pagelet_operator.capacity import Capacity
from pagelet_operator.diagnosis.container import container_troubles
from pagelet_operator.diagnosis.findings import RANKS, Diagnosis
from pagelet_operator.diagnosis.pod import ended_pod, pod_troubles
from pagelet_operator.diagnosis.workload import creation_trouble
from pagelet_operator.observed import KubernetesObject, Observed
from pagelet_operator.pod_state import is_active, is_ready, label, of_component

__all__ = ["Diagnosis", "diagnose", "diagnose_gateway", "diagnose_pods"]


def diagnose(
    observed: Observed,
    revision_hash: str,
    capacity: Capacity | None,
    progress_deadline_s: float | None,
    now_s: float,
) -> Diagnosis | None:
    """The worst thing about a revision's engines; None: nothing is known to be wrong.

    `capacity` are the devices that its pods may be given, where they are known.
    """
    pods = list(of_component(observed.pods, names.COMPONENT_ENGINE, revision_hash))
    owners = [owner for owner in observed.of_kind("ReplicaSet") if label(owner, names.LABEL_REVISION) == revision_hash]
    return diagnose_pods(pods, owners, capacity, progress_deadline_s, now_s)


def diagnose_gateway(observed: Observed, now_s: float) -> Diagnosis | None:
    """The worst thing about the gateway's pods. That they wait for an engine is none."""
    pods = list(of_component(observed.pods, names.COMPONENT_GATEWAY))
    owners = [
        owner
        for owner in observed.of_kind("Deployment")
        if label(owner, names.LABEL_COMPONENT) == names.COMPONENT_GATEWAY
    ]
    return diagnose_pods(pods, owners, None, None, now_s)


def diagnose_pods(
    pods: Sequence[KubernetesObject],
    owners: Sequence[KubernetesObject],
    capacity: Capacity | None,
    progress_deadline_s: float | None,
    now_s: float,
) -> Diagnosis | None:
    """The worst thing about these pods, and about those that their owners (ReplicaSet, Deployment) could not make."""
    troubles = [trouble for owner in owners for trouble in creation_trouble(owner)]
    active = [pod for pod in pods if is_active(pod)]
    waiting = [pod for pod in active if not is_ready(pod)]
    for pod in waiting:
        found = sorted(_troubles(pod, capacity, progress_deadline_s, now_s), key=_rank)
        troubles += found[:1]
    if not troubles and (waiting or not active):
        # What ended is replaced by its ReplicaSet; it is told of only where nothing newer explains the gap.
        troubles = [trouble for pod in pods for trouble in ended_pod(pod)]
    if not troubles:
        return None
    worst = min(troubles, key=lambda trouble: (_rank(trouble), trouble.message))
    more = sum(trouble.reason == worst.reason for trouble in troubles) - 1
    return replace(worst, message=f"{worst.message} (and {more} more like it)") if more else worst


def _troubles(
    pod: KubernetesObject, capacity: Capacity | None, progress_deadline_s: float | None, now_s: float
) -> Iterator[Diagnosis]:
    yield from container_troubles(pod)
    yield from pod_troubles(pod, capacity, progress_deadline_s, now_s)


def _rank(trouble: Diagnosis) -> int:
    """What a person has to do something about comes before what time may mend."""
    return RANKS.get(trouble.reason, 0)
