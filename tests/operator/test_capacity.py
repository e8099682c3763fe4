"""Free devices: whose nodes count, and what is in use on them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pagelet_operator.capacity import Capacity, Pool, devices, free_devices, requested

GPU = "nvidia.com/gpu"
Obj = dict[str, Any]


def node(name: str, gpus: int | str = 2, labels: dict[str, str] | None = None, **spec: Any) -> Obj:
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": spec,
        "status": {"allocatable": {GPU: str(gpus), "cpu": "8"}},
    }


def container(gpus: int | str, **fields: Any) -> Obj:
    return {"resources": {"limits": {GPU: gpus}}, **fields}


def pod(on: str, gpus: int = 1, phase: str = "Running") -> Obj:
    return {"spec": {"nodeName": on, "containers": [container(str(gpus))]}, "status": {"phase": phase}}


def free(nodes: list[Obj], pods: list[Obj] = [], **pod_spec: Any) -> Capacity:  # noqa: B006
    return free_devices(nodes, pods, GPU, pod_spec)


def test_devices_are_counted_by_pool() -> None:
    pool = {"worker.gardener.cloud/pool": "gpu-a100", "nvidia.com/gpu.product": "NVIDIA-A100"}
    nodes = [
        node("a", 2, pool),
        node("b", 4, pool),
        node("c", 1, {"nvidia.com/gpu.product": "NVIDIA-L4"}),
        node("d", 1),
    ]
    capacity = free(nodes, [pod("a", 2), pod("b", 1), pod("d", 1)])
    assert capacity.pools == (Pool("", 1, 1, 0), Pool("NVIDIA-L4", 1, 0, 1), Pool("gpu-a100", 6, 3, 3))
    assert (capacity.total, capacity.in_use, capacity.free) == (8, 4, 4)
    assert capacity.holds(3)
    assert not capacity.holds(4), "four are free, but no node has them all"


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_pods_that_have_ended_hold_nothing(phase: str) -> None:
    assert free([node("a")], [pod("a", 2, phase)]).free == 2


def test_pods_without_a_node_and_nodes_without_devices_do_not_count() -> None:
    waiting = {"spec": {"containers": [container(1)]}, "status": {"phase": "Pending"}}
    assert free([node("a"), node("b", 0)], [waiting]).pools == (Pool("", 2, 0, 2),)


@pytest.mark.parametrize(
    ("pod_spec", "counts"),
    [
        ({}, True),
        ({"nodeSelector": {"zone": "a"}}, True),
        ({"nodeSelector": {"zone": "b"}}, False),
        ({"nodeSelector": {"other": ""}}, False),
    ],
)
def test_the_node_selector_is_heeded(pod_spec: Obj, counts: bool) -> None:
    assert bool(free([node("a", labels={"zone": "a"})], **pod_spec).total) is counts


@pytest.mark.parametrize(
    ("expression", "counts"),
    [
        ({"key": "zone", "operator": "In", "values": ["a", "b"]}, True),
        ({"key": "zone", "operator": "In", "values": ["c"]}, False),
        ({"key": "zone", "operator": "NotIn", "values": ["a"]}, False),
        ({"key": "other", "operator": "NotIn", "values": ["a"]}, True),
        ({"key": "zone", "operator": "Exists"}, True),
        ({"key": "zone", "operator": "DoesNotExist"}, False),
        ({"key": "memory", "operator": "Gt", "values": ["40"]}, True),
        ({"key": "memory", "operator": "Lt", "values": ["40"]}, False),
        ({"key": "zone", "operator": "Gt", "values": ["40"]}, False),
        ({"key": "zone", "operator": "Unheard", "values": ["a"]}, False),
    ],
)
def test_required_affinity_is_heeded(expression: Obj, counts: bool) -> None:
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    assert bool(free([node("a", labels={"zone": "a", "memory": "80"})], affinity=affinity).total) is counts


@pytest.mark.parametrize(
    ("toleration", "counts"),
    [
        ({}, False),
        ({"operator": "Exists"}, True),
        ({"key": "gpu", "operator": "Exists"}, True),
        ({"key": "gpu", "value": "yes"}, True),
        ({"key": "gpu", "value": "no"}, False),
        ({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}, False),
    ],
)
def test_a_tainted_node_counts_for_pods_that_tolerate_it(toleration: Obj, counts: bool) -> None:
    taints = [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}, {"key": "x", "effect": "PreferNoSchedule"}]
    tolerations = [toleration] if toleration else []
    assert bool(free([node("a", taints=taints)], tolerations=tolerations).total) is counts


def test_a_cordoned_node_does_not_count() -> None:
    assert free([node("a", unschedulable=True)]).total == 0


def test_a_pod_is_given_its_containers_devices_or_its_largest_init_containers() -> None:
    spec = {"containers": [container(1), container("1")], "initContainers": [container(3), container(1)]}
    assert requested(spec, GPU) == 3
    spec["initContainers"] = [container(1), container(2, restartPolicy="Always")]
    assert requested(spec, GPU) == 4
    assert requested({"containers": [{"name": "x"}]}, GPU) == 0


def test_the_devices_of_a_pod_are_those_that_a_vendor_names() -> None:
    limits = {GPU: 2, "cpu": "4", "memory": "4Gi", "amd.com/gpu": "0", "a.io/nic": 1}
    spec = {"containers": [{"resources": {"limits": limits}}]}
    assert list(devices(spec).items()) == [(GPU, 2), ("a.io/nic", 1)], "accelerators first"


counts = st.integers(0, 8)


@given(st.lists(st.tuples(counts, st.sampled_from(["", "p", "q"])), max_size=5), st.lists(st.tuples(counts, counts)))
def test_the_sums_hold_whatever_runs_where(nodes: list[tuple[int, str]], pods: list[tuple[int, int]]) -> None:
    capacity = free(
        [node(str(i), gpus, {"worker.gardener.cloud/pool": pool}) for i, (gpus, pool) in enumerate(nodes)],
        [pod(str(on), gpus) for on, gpus in pods],
    )
    assert capacity.total == sum(gpus for gpus, _ in nodes)
    assert 0 <= capacity.free <= capacity.total
    assert all(0 <= pool.most_free_on_a_node <= pool.free for pool in capacity.pools)
