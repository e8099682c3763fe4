"""Whether a pod may run on a node, as far as node selector, required node affinity and taints are concerned.

The scheduler's rules, for saying how many devices there are; not for placing anything.
Source: https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pagelet_operator.observed import KubernetesObject

Part = Mapping[str, Any]

# What a pod is stopped by unless it tolerates it; PreferNoSchedule only puts it off.
_STOPPING = ("NoSchedule", "NoExecute")


def may_run(pod_spec: Part, node: KubernetesObject) -> bool:
    labels = node["metadata"].get("labels", {})
    tolerations = pod_spec.get("tolerations") or ()
    return (
        all(labels.get(label) == value for label, value in (pod_spec.get("nodeSelector") or {}).items())
        and _fits_affinity(pod_spec, node)
        and all(any(_tolerates(toleration, taint) for toleration in tolerations) for taint in _stopping_taints(node))
    )


def _stopping_taints(node: KubernetesObject) -> Iterator[Part]:
    spec = node.get("spec", {})
    yield from (taint for taint in spec.get("taints") or () if taint.get("effect") in _STOPPING)
    if spec.get("unschedulable"):
        yield {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


def _tolerates(toleration: Part, taint: Part) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return bool(toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", ""))


def _fits_affinity(pod_spec: Part, node: KubernetesObject) -> bool:
    affinity = (pod_spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    labels, name = node["metadata"].get("labels", {}), node["metadata"]["name"]
    return any(
        (term.get("matchExpressions") or term.get("matchFields"))
        and _all_match(term.get("matchExpressions") or (), labels)
        and _all_match(term.get("matchFields") or (), {"metadata.name": name})
        for term in required.get("nodeSelectorTerms") or ()
    )


def _all_match(expressions: Sequence[Part], labels: Mapping[str, str]) -> bool:
    return all(_matches(expression, labels.get(expression["key"])) for expression in expressions)


def _matches(expression: Part, value: str | None) -> bool:
    values = expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" as operator:
            try:
                difference = int(value or "") - int(next(iter(values), ""))
            except ValueError:
                return False
            return difference > 0 if operator == "Gt" else difference < 0
    return False
