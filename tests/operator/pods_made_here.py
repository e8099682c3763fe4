"""Pods and workloads as the API server shows them, for tests of what is read from them."""

from typing import Any

Obj = dict[str, Any]
NOW_S = 1_800_000_000.0
LONG_AGO = "2026-11-23T10:00:00Z"  # more than an hour before NOW_S
JUST_NOW = "2027-01-15T07:59:50Z"  # ten seconds before NOW_S


def labels(component: str = "engine", revision: str = "") -> dict[str, str]:
    found_by = {"pagelet.io/inference-service": "smol", "pagelet.io/component": component}
    return found_by | ({"pagelet.io/revision": revision} if revision else {})


def engine_pod(
    name: str = "smol-abc-1",
    revision: str = "abc",
    *,
    ready: bool = False,
    scheduled: str | None = JUST_NOW,
    containers: list[Obj] | None = None,
    init_containers: list[Obj] | None = None,
    conditions: list[Obj] | None = None,
    component: str = "engine",
    spec: Obj | None = None,
    **status: Any,
) -> Obj:
    """`scheduled` None: it has no node, and the scheduler said why."""
    has_node = {"type": "PodScheduled", "status": "True", "lastTransitionTime": scheduled}
    has_none = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes available.",
    }
    readiness = {"type": "Ready", "status": str(ready), "reason": "" if ready else "ContainersNotReady"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "team", "labels": labels(component, revision)},
        "spec": {"containers": [{"name": component, "image": "x"}], **(spec or {})},
        "status": {
            "phase": "Running" if scheduled else "Pending",
            "conditions": [has_node if scheduled else has_none, readiness, *(conditions or [])],
            **({"containerStatuses": containers} if containers else {}),
            **({"initContainerStatuses": init_containers} if init_containers else {}),
            **status,
        },
    }


def gateway_pod(name: str = "smol-gateway-1", **fields: Any) -> Obj:
    return engine_pod(name, "", component="gateway", **fields)


def container(state: Obj, last: Obj | None = None, name: str = "engine", **fields: Any) -> Obj:
    return (
        {"name": name, "image": "registry.example/engine:1", "ready": False, "state": state}
        | fields
        | {"lastState": last or {}}
    )


def waiting(reason: str, message: str = "") -> Obj:
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def ended(exit_code: int = 1, message: str = "", reason: str = "Error") -> Obj:
    return {"terminated": {"exitCode": exit_code, "reason": reason, "message": message}}


def replica_set(revision: str = "abc", replicas: int = 1, created: str = LONG_AGO, **status: Any) -> Obj:
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": f"smol-{revision}", "labels": labels("engine", revision), "creationTimestamp": created},
        "spec": {"replicas": replicas},
        "status": status,
    }


def gateway_deployment(**status: Any) -> Obj:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "smol-gateway", "labels": labels("gateway"), "creationTimestamp": LONG_AGO},
        "spec": {"replicas": 2},
        "status": status,
    }
