"""What a pod's status says, as plain answers: does it serve, is it going, since when has it had a node.

Reads the API's form once for everybody; judges nothing.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from pagelet_api import names

from pagelet_operator.observed import KubernetesObject


def condition(obj: KubernetesObject, type_: str) -> Mapping[str, Any]:
    """The condition of that type; empty: there is none."""
    conditions = obj.get("status", {}).get("conditions") or ()
    return next((condition for condition in conditions if condition["type"] == type_), {})


def is_active(pod: KubernetesObject) -> bool:
    """Whether it counts for its ReplicaSet: neither ended nor being deleted."""
    ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
    return not ended and not pod["metadata"].get("deletionTimestamp")


def is_ready(pod: KubernetesObject) -> bool:
    """Whether it serves: ready, and staying."""
    return is_active(pod) and condition(pod, "Ready").get("status") == "True"


def scheduled_at_s(pod: KubernetesObject) -> float | None:
    """When it was given a node, in seconds since the epoch; None: it has none."""
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") != "True" or not scheduled.get("lastTransitionTime"):
        return None
    return datetime.fromisoformat(scheduled["lastTransitionTime"]).timestamp()


def label(obj: KubernetesObject, name: str) -> str:
    return str((obj["metadata"].get("labels") or {}).get(name, ""))


def of_component(pods: tuple[KubernetesObject, ...], component: str, revision: str = "") -> Iterator[KubernetesObject]:
    """The pods of a component, and of one revision where one is named."""
    for pod in pods:
        if label(pod, names.LABEL_COMPONENT) == component and revision in ("", label(pod, names.LABEL_REVISION)):
            yield pod
