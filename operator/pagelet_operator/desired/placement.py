"""Where engine pods may run, and what of a node they take: devices, tolerations, affinity, memory for /dev/shm.

What users wrote in Kubernetes' own words is added to, never judged: that is the API server's business, and so what has
not the expected form is handed on as it is.
"""

import copy
from typing import Any

from pagelet_api.quantities import QuantityError, parse_bytes
from pagelet_api.v1alpha1 import InferenceServiceSpec

from pagelet_operator.desired.metadata import KubernetesObject
from pagelet_operator.desired.pods import resource_amounts

SHM_MOUNT = "/dev/shm"
SHM_BYTES_A_RANK = 512 * 2**20
"""NCCL's ring through shared memory, where GPUs cannot reach each other, holds at most 32 channels × 4 MiB × two
directions = 256 MiB a rank; its tree as much again. The container's default of 64 MiB fails at start."""

_VENDORS = {
    # prefix of the resource: (key of the taint that such nodes carry, label with the product's name)
    "nvidia.com/": ("nvidia.com/gpu", "nvidia.com/gpu.product"),
    "amd.com/": ("amd.com/gpu", "amd.com/gpu.product-name"),
}


def shm_volume(spec: InferenceServiceSpec) -> KubernetesObject | None:
    """Shared memory between ranks; None where there is one rank alone."""
    if spec.engine.tensor_parallel_size == 1:
        return None
    return {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": _quantity(_shm_bytes(spec))}}


def engine_resources(spec: InferenceServiceSpec) -> KubernetesObject:
    """The engine container's resources: as given, and memory for the host cache and /dev/shm, which counts as the
    container's own."""
    given = resource_amounts(spec.resources)
    more = spec.engine.host_cache_bytes
    if spec.engine.tensor_parallel_size > 1:
        more += _shm_bytes(spec)
    if not more:
        return given
    return {
        kind: {name: _add(text, more) if name == "memory" else text for name, text in amounts.items()}
        for kind, amounts in given.items()
    }


def tolerations(spec: InferenceServiceSpec) -> list[KubernetesObject]:
    """The user's, and those of the taint by which a pool keeps pods away that ask for no device."""
    wanted = [dict(toleration) for toleration in spec.pod_template.tolerations]
    for prefix, (taint, _) in _VENDORS.items():
        toleration = {"key": taint, "operator": "Exists", "effect": "NoSchedule"}
        if any(name.startswith(prefix) for name in spec.resources.names) and toleration not in wanted:
            wanted.append(toleration)
    return wanted


def affinity(spec: InferenceServiceSpec) -> KubernetesObject | None:
    """The user's, and nodes of the wanted product alone: added to each term, because one term is enough for a node."""
    given: Any = copy.deepcopy(spec.pod_template.affinity)
    if not spec.accelerator.product:
        return given or None
    vendor = "amd.com/" if any(name.startswith("amd.com/") for name in spec.resources.names) else "nvidia.com/"
    product = {"key": _VENDORS[vendor][1], "operator": "In", "values": [spec.accelerator.product]}
    merged = given or {}
    required = _part(_part(merged, "nodeAffinity"), "requiredDuringSchedulingIgnoredDuringExecution")
    if not isinstance(required, dict):
        return merged  # not what Kubernetes knows: it will say so
    terms = required.setdefault("nodeSelectorTerms", None)
    if terms is None:
        required["nodeSelectorTerms"] = [{"matchExpressions": [product]}]
    for term in terms if isinstance(terms, list) else ():
        # An empty term matches no node, and must not begin to.
        if isinstance(term, dict) and (term.get("matchExpressions") or term.get("matchFields")):
            expressions = term.get("matchExpressions") or []
            term["matchExpressions"] = [*expressions, product] if isinstance(expressions, list) else expressions
    return merged


def _part(parent: Any, name: str) -> Any:
    """A part of an object, made where it is missing; None where the parent is no object."""
    if not isinstance(parent, dict):
        return None
    if parent.get(name) is None:
        parent[name] = {}
    return parent[name]


def _shm_bytes(spec: InferenceServiceSpec) -> int:
    return SHM_BYTES_A_RANK * spec.engine.tensor_parallel_size


def _add(memory: str, more_bytes: int) -> str:
    try:
        return _quantity(parse_bytes(memory) + more_bytes)
    except QuantityError:
        return memory  # no memory that a pod could have: the API server will say so


def _quantity(num_bytes: int) -> str:
    """Bytes with the largest binary suffix that leaves no rest."""
    for suffix in ("Ti", "Gi", "Mi", "Ki"):
        size = 1024 ** ("KMGT".index(suffix[0]) + 1)
        if num_bytes % size == 0:
            return f"{num_bytes // size}{suffix}"
    return str(num_bytes)
