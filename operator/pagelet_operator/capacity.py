"""How many devices are free for one pod, and where: from nodes and pods as they are, for a sentence about a pod that
waits.

Decides nothing: whether a pod is scheduled is the scheduler's word.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pagelet_api.quantities import QuantityError, parse_quantity

from pagelet_operator.node_fit import may_run
from pagelet_operator.observed import KubernetesObject

Part = Mapping[str, Any]

# What names a group of like nodes, best first.
_POOL_LABELS = ("worker.gardener.cloud/pool", "nvidia.com/gpu.product", "amd.com/gpu.product-name")


@dataclass(frozen=True, slots=True)
class Pool:
    """Like nodes on which the pod may run."""

    name: str
    """Empty: nodes that carry no name of a pool."""
    total: int
    in_use: int
    most_free_on_a_node: int

    @property
    def free(self) -> int:
        return self.total - self.in_use


@dataclass(frozen=True, slots=True)
class Capacity:
    """Devices of one resource on the nodes on which a pod may run."""

    resource: str
    pools: tuple[Pool, ...] = ()
    """Those that have such devices, by name."""

    @property
    def total(self) -> int:
        return sum(pool.total for pool in self.pools)

    @property
    def in_use(self) -> int:
        return sum(pool.in_use for pool in self.pools)

    @property
    def free(self) -> int:
        return sum(pool.free for pool in self.pools)

    def holds(self, wanted: int) -> bool:
        """Whether some node has `wanted` devices free, as one pod needs them."""
        return any(pool.most_free_on_a_node >= wanted for pool in self.pools)


def free_devices(
    nodes: Iterable[KubernetesObject], pods: Iterable[KubernetesObject], resource: str, pod_spec: Part
) -> Capacity:
    """Count `resource` on the nodes on which a pod of `pod_spec` may run. `pods` are all that may be on them."""
    in_use: dict[str, int] = {}
    for pod in pods:
        if (node := pod["spec"].get("nodeName")) and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
            in_use[node] = in_use.get(node, 0) + requested(pod["spec"], resource)
    pools: dict[str, list[tuple[int, int]]] = {}
    for node in nodes:
        total = _count(node.get("status", {}).get("allocatable", {}).get(resource))
        if total and may_run(pod_spec, node):
            # More in use than there is: a device failed under a pod that runs on.
            taken = min(total, in_use.get(node["metadata"]["name"], 0))
            pools.setdefault(_pool_name(node), []).append((total, taken))
    return Capacity(
        resource,
        tuple(
            Pool(
                name,
                sum(total for total, _ in counts),
                sum(taken for _, taken in counts),
                max(total - taken for total, taken in counts),
            )
            for name, counts in sorted(pools.items())
        ),
    )


def requested(pod_spec: Part, resource: str) -> int:
    """How many of `resource` the scheduler sets aside for a pod: containers and sidecars together, or the largest init
    container if that is more."""
    init = pod_spec.get("initContainers", ())
    sidecars = [container for container in init if container.get("restartPolicy") == "Always"]
    passing = [container for container in init if container.get("restartPolicy") != "Always"]
    together = sum(_of_container(container, resource) for container in (*pod_spec.get("containers", ()), *sidecars))
    return max((together, *(_of_container(container, resource) for container in passing)))


def devices(pod_spec: Part) -> Mapping[str, int]:
    """The devices that a pod asks for, by resource, accelerators first; a device is what a vendor names:
    vendor.tld/device."""
    names = {
        name: None
        for container in (*pod_spec.get("containers", ()), *pod_spec.get("initContainers", ()))
        for kind in ("limits", "requests")
        for name in (container.get("resources") or {}).get(kind) or {}
        if "/" in name and not name.startswith("kubernetes.io/")
    }
    counts = {name: requested(pod_spec, name) for name in sorted(names, key=_accelerators_first)}
    return {name: count for name, count in counts.items() if count}


def _accelerators_first(name: str) -> tuple[bool, str]:
    return not name.startswith(("nvidia.com/", "amd.com/")), name


def _of_container(container: Part, resource: str) -> int:
    resources = container.get("resources") or {}
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    return _count(requests.get(resource, limits.get(resource)))


def _count(quantity: Any) -> int:
    try:
        return int(parse_quantity(str(quantity or 0)))
    except QuantityError:
        return 0


def _pool_name(node: KubernetesObject) -> str:
    labels = node["metadata"].get("labels", {})
    return next((str(labels[label]) for label in _POOL_LABELS if labels.get(label)), "")
