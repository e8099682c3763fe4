"""Which revisions of a service exist, and how their pods are: what the rollout planner is told, read from live objects.

Owns the way back from ConfigMap and ReplicaSet to a revision. Knows neither the spec nor what should be: pods of no
revision that is known here are nobody's, and are left out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pagelet_api import names

from pagelet_operator.observed import KubernetesObject, ObjectKey, Observed
from pagelet_operator.pod_state import condition, is_active, is_ready, label, of_component
from pagelet_operator.revision import SURGE_REFUSED_ANNOTATION, Revision, RevisionError
from pagelet_operator.rollout import RevisionPods

__all__ = ["SURGE_REFUSED_ANNOTATION", "KnownRevision", "known_revisions", "revision_pods"]

FALTERING_S = 60.0
"""For so long an engine that stopped answering may come back before it counts for nothing."""
LOST_S = 60.0
"""So long after its grace period a pod that is still there is its node's ghost: nobody will say when it is gone."""


@dataclass(frozen=True, slots=True)
class KnownRevision:
    revision: Revision
    """As it was rendered when it came up. `replicas` are its ReplicaSet's; 0: it has none (any more)."""
    created: str
    """When the first of its objects came up."""
    finished: bool
    """Neither has nor wants a pod: unless it is the target, its objects may be deleted."""

    @property
    def surge_refused(self) -> bool:
        return self.revision.surge_refused

    @property
    def is_remnant(self) -> bool:
        """Whether its ConfigMap is gone, and with it the engine's configuration. What is left is the template in its
        ReplicaSet, with the API's defaults filled in: enough to let its pods serve on and go, not to make new ones."""
        return not self.revision.config


def known_revisions(observed: Observed) -> tuple[KnownRevision, ...]:
    """Oldest first."""
    service_name = observed.service["metadata"]["name"]
    found = {}
    for kind in ("ConfigMap", "ReplicaSet"):
        for obj in observed.of_kind(kind):
            revision_hash = label(obj, names.LABEL_REVISION)
            is_engines = label(obj, names.LABEL_COMPONENT) == names.COMPONENT_ENGINE
            if is_engines and obj["metadata"]["name"] == f"{service_name}-{revision_hash}":
                found[revision_hash] = _known(observed, revision_hash)
    return tuple(sorted((known for known in found.values() if known), key=_age))


def revision_pods(
    observed: Observed,
    known: Sequence[KnownRevision],
    target_hash: str,
    diagnoses: Mapping[str, str],
    now_s: float,
) -> tuple[RevisionPods, ...]:
    """The pods of each revision, in the order of `known`; a target that is not among them comes last, with none.

    `diagnoses` say why the pods of a revision will not become ready by themselves.
    """
    counted = [_counted(observed, each.revision, diagnoses, now_s) for each in known]
    if target_hash and target_hash not in {each.revision.hash for each in known}:
        counted.append(RevisionPods(target_hash, wanted=0, pods=0, ready=0, failing=diagnoses.get(target_hash, "")))
    return tuple(counted)


def _known(observed: Observed, revision_hash: str) -> KnownRevision | None:
    config_map = _child(observed, "v1", "ConfigMap", revision_hash)
    replica_set = _child(observed, "apps/v1", "ReplicaSet", revision_hash)
    revision = _revision(revision_hash, config_map, replica_set)
    if revision is None:
        return None
    parts = [part for part in (config_map, replica_set) if part]
    created = min(part["metadata"].get("creationTimestamp", "") for part in parts)
    pods = of_component(observed.pods, names.COMPONENT_ENGINE, revision_hash)
    has_pods = any(not _has_ended(pod) for pod in pods)  # evicted ones are left behind until their ReplicaSet goes
    # The pods may be known to the ReplicaSet's controller before they are to us.
    settled = replica_set is None or not (replica_set.get("status") or {}).get("replicas")
    return KnownRevision(revision, created, finished=revision.replicas == 0 and settled and not has_pods)


def _revision(
    revision_hash: str, config_map: KubernetesObject | None, replica_set: KubernetesObject | None
) -> Revision | None:
    replicas, surge_refused = 0, False
    if replica_set is not None:
        surge_refused = (replica_set["metadata"].get("annotations") or {}).get(SURGE_REFUSED_ANNOTATION) == "true"
        if not replica_set["metadata"].get("deletionTimestamp"):
            replicas = replica_set["spec"].get("replicas", 1)  # the API's default
    if config_map is not None:
        try:
            data = config_map.get("data") or {}
            return Revision.read(revision_hash, data, replicas=replicas, surge_refused=surge_refused)
        except RevisionError:
            pass  # as good as gone; whoever writes it next hears from the API server
    if replica_set is None:
        return None
    template = replica_set["spec"].get("template") or {}
    return Revision(revision_hash, replicas, "", template, surge_refused=surge_refused)


def _child(observed: Observed, api_version: str, kind: str, revision_hash: str) -> KubernetesObject | None:
    """Ours, or nobody's: what somebody else controls is no revision of ours, whatever its labels say."""
    metadata = observed.service["metadata"]
    child = observed.children.get(ObjectKey(api_version, kind, f"{metadata['name']}-{revision_hash}"))
    if child is None or label(child, names.LABEL_REVISION) != revision_hash:
        return None
    owners = child["metadata"].get("ownerReferences") or ()
    strangers = [owner for owner in owners if owner.get("controller") and owner.get("uid") != metadata.get("uid")]
    return None if strangers else child


def _age(known: KnownRevision) -> tuple[str, str]:
    return known.created, known.revision.hash  # seconds are all that the API server keeps


def _counted(observed: Observed, revision: Revision, diagnoses: Mapping[str, str], now_s: float) -> RevisionPods:
    pods = list(of_component(observed.pods, names.COMPONENT_ENGINE, revision.hash))
    active = [pod for pod in pods if is_active(pod)]
    waiting = [since_s for pod in active if (since_s := _unscheduled_since_s(pod)) is not None]
    replica_set = _child(observed, "apps/v1", "ReplicaSet", revision.hash)
    if replica_set is not None and len(active) < revision.replicas:
        waiting += _refused_since_s(replica_set)
    return RevisionPods(
        revision.hash,
        wanted=revision.replicas,
        pods=len(active),
        ready=sum(is_ready(pod) for pod in active),
        leaving=sum(_is_leaving(pod, now_s) for pod in pods),
        faltering=sum(_is_faltering(pod, now_s) for pod in active),
        unscheduled_since_s=min(waiting, default=None),
        failing=diagnoses.get(revision.hash, ""),
        surge_refused=revision.surge_refused,
    )


def _is_leaving(pod: KubernetesObject, now_s: float) -> bool:
    """Whether it is being deleted and holds its device until it is gone."""
    # The API server puts the end of the grace period here.
    ends_s = _seconds(pod["metadata"].get("deletionTimestamp"))
    return ends_s is not None and not _has_ended(pod) and now_s < ends_s + LOST_S


def _has_ended(pod: KubernetesObject) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _is_faltering(pod: KubernetesObject, now_s: float) -> bool:
    """Whether it served until a moment ago: its engine came through its start, and runs."""
    containers = (pod.get("status") or {}).get("containerStatuses") or ()
    since_s = _seconds(condition(pod, "Ready").get("lastTransitionTime"))
    if is_ready(pod) or not containers or since_s is None:
        return False
    return all(container.get("started") for container in containers) and now_s < since_s + FALTERING_S


def _unscheduled_since_s(pod: KubernetesObject) -> float | None:
    if (pod.get("spec") or {}).get("nodeName"):
        return None
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "True":
        return None
    return _seconds(scheduled.get("lastTransitionTime") or pod["metadata"].get("creationTimestamp"))


def _refused_since_s(replica_set: KubernetesObject) -> Iterable[float]:
    """A pod over the namespace's quota is not even made. It waits for a device as others do that wait for a node."""
    refused = condition(replica_set, "ReplicaFailure")
    since_s = _seconds(refused.get("lastTransitionTime"))
    if refused.get("status") == "True" and "exceeded quota" in refused.get("message", "") and since_s is not None:
        yield since_s


def _seconds(timestamp: str | None) -> float | None:
    return datetime.fromisoformat(timestamp).timestamp() if timestamp else None
