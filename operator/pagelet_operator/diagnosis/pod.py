"""What keeps a pod as a whole from serving: no node, no volume, no answer, no end."""

from collections.abc import Iterator

from pagelet_operator.capacity import Capacity, Pool, requested
from pagelet_operator.diagnosis.findings import (
    EVICTED,
    NODE_LOST,
    POD_FAILED,
    PROGRESS_DEADLINE,
    UNSCHEDULABLE,
    VOLUME_NOT_READY,
    Diagnosis,
    quoted,
)
from pagelet_operator.observed import KubernetesObject
from pagelet_operator.pod_state import condition, scheduled_at_s

_VOLUME_PATIENCE_S = 60.0  # volumes take a while to be mounted; so long they do not


def pod_troubles(
    pod: KubernetesObject, capacity: Capacity | None, progress_deadline_s: float | None, now_s: float
) -> Iterator[Diagnosis]:
    """What is wrong with a pod that is neither ready nor ended."""
    name = pod["metadata"]["name"]
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        if scheduled.get("reason") in ("Unschedulable", "SchedulingGated"):
            yield Diagnosis(UNSCHEDULABLE, f"pod {name} finds no node: {_no_node(pod, capacity)}", final=False)
        return
    if _is_lost(pod):
        node = pod["spec"].get("nodeName", "")
        yield Diagnosis(NODE_LOST, f"pod {name}: its node {node} does not report any more", final=False)
    since_s = scheduled_at_s(pod)
    if since_s is None:
        return
    prepared = condition(pod, "PodReadyToStartContainers").get("status")
    if prepared == "False" and now_s >= since_s + _VOLUME_PATIENCE_S:
        yield Diagnosis(VOLUME_NOT_READY, f"pod {name} waits for {_awaited(pod)}; {_where_to_look(name)}", final=False)
    if progress_deadline_s is not None and now_s >= since_s + progress_deadline_s:
        over = f"more than {progress_deadline_s:.0f} s after it was given a node (spec.rollout.progressDeadline)"
        yield Diagnosis(PROGRESS_DEADLINE, f"pod {name} is not ready {over}; {_where_to_look(name)}", final=True)


def ended_pod(pod: KubernetesObject) -> Iterator[Diagnosis]:
    """Why a pod failed as a whole: its node wanted it gone, or never let it in."""
    status = pod.get("status", {})
    if status.get("phase") != "Failed" or pod["metadata"].get("deletionTimestamp"):
        return
    name, why = pod["metadata"]["name"], status.get("reason", "")
    if why == "Evicted":
        yield Diagnosis(EVICTED, f"pod {name} was evicted: {quoted(status.get('message'))}", final=False)
    elif why:
        yield Diagnosis(POD_FAILED, f"pod {name} failed: {why}: {quoted(status.get('message'))}", final=False)


def _no_node(pod: KubernetesObject, capacity: Capacity | None) -> str:
    """Wanted and free devices, where they are known, and the scheduler's own sentence."""
    said = (condition(pod, "PodScheduled").get("message") or "").split(" preemption:")[0]
    parts = [f"the scheduler says: {quoted(said)}"] if said else []
    if capacity and (wanted := requested(pod["spec"], capacity.resource)):
        parts.insert(0, f"{wanted} × {capacity.resource} wanted, {_free(capacity, wanted)}")
    return "; ".join(parts) or "the scheduler does not say why"


def _free(capacity: Capacity, wanted: int) -> str:
    if not capacity.pools:
        return "but no node that it may run on has any"
    scattered = ""
    if capacity.free >= wanted and not capacity.holds(wanted):
        most = max(pool.most_free_on_a_node for pool in capacity.pools)
        scattered = f", at most {most} of them on one node"
    if len(capacity.pools) == 1:
        (pool,) = capacity.pools
        return f"{pool.free} free in {_name(pool)} ({pool.in_use} of {pool.total} in use){scattered}"
    each = ", ".join(f"{pool.free} of {pool.total} in {_name(pool)}" for pool in capacity.pools)
    return f"{capacity.free} free ({each}){scattered}"


def _name(pool: Pool) -> str:
    return f"pool {pool.name}" if pool.name else "the cluster"


def _is_lost(pod: KubernetesObject) -> bool:
    """Whether its kubelet fell silent: the node controller then takes readiness back, and leaves all else as it was."""
    ready = condition(pod, "Ready")
    if ready.get("status") == "Unknown" or pod.get("status", {}).get("reason") == "NodeLost":
        return True
    silent = ready.get("status") == "False" and not ready.get("reason")
    return silent and condition(pod, "ContainersReady").get("status") == "True"


def _awaited(pod: KubernetesObject) -> str:
    """What a pod needs before its containers can be made."""
    awaited = []
    for volume in pod["spec"].get("volumes") or ():
        if claim := volume.get("persistentVolumeClaim"):
            awaited.append(f"claim {claim.get('claimName')}")
        sources = [volume, *((volume.get("projected") or {}).get("sources") or ())]
        for source in sources:
            if config_map := source.get("configMap"):
                awaited.append(f"ConfigMap {config_map.get('name')}")
            if secret := source.get("secret"):
                awaited.append(f"Secret {secret.get('secretName') or secret.get('name')}")
    return f"its network or one of: {', '.join(awaited)}" if awaited else "its network"


def _where_to_look(pod_name: str) -> str:
    return f"`kubectl describe pod {pod_name}` shows more"
