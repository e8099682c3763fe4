"""Devices, tolerations, affinity and memory of engine pods."""

from typing import Any

import pytest
from pagelet_operator.desired import KubernetesObject

from ..conftest import document
from .conftest import container_of, of, pod_of

A100 = {"key": "nvidia.com/gpu.product", "operator": "In", "values": ["NVIDIA-A100-SXM4-40GB"]}


def pod(**spec: Any) -> KubernetesObject:
    return pod_of(of(document(**spec)), "ReplicaSet")


@pytest.mark.parametrize(
    "amounts",
    [
        {"limits": {"nvidia.com/gpu": 1}},
        {"limits": {"nvidia.com/mig-1g.10gb": "1", "memory": "8Gi"}},
        {"limits": {"nvidia.com/gpu.shared": 1}, "requests": {"cpu": "500m"}},
        {"limits": {"amd.com/gpu": 2}},
    ],
)
def test_resources_reach_the_engines_container_as_text(amounts: dict[str, Any]) -> None:
    resources = container_of(of(document(resources=amounts)), "ReplicaSet")["resources"]
    assert resources == {kind: {name: str(n) for name, n in given.items()} for kind, given in amounts.items()}


@pytest.mark.parametrize(
    ("resource", "taint"),
    [
        ("nvidia.com/gpu", "nvidia.com/gpu"),
        ("nvidia.com/mig-1g.10gb", "nvidia.com/gpu"),
        ("amd.com/gpu", "amd.com/gpu"),
    ],
)
def test_pods_that_ask_for_a_device_tolerate_the_taint_of_its_nodes(resource: str, taint: str) -> None:
    toleration = {"key": taint, "operator": "Exists", "effect": "NoSchedule"}
    assert pod(resources={"limits": {resource: 1}})["tolerations"] == [toleration]
    assert "tolerations" not in pod()
    mine = {"key": "mine", "operator": "Exists"}
    both = pod(resources={"limits": {resource: 1}}, podTemplate={"tolerations": [mine, toleration]})
    assert both["tolerations"] == [mine, toleration]


def test_a_product_keeps_pods_on_its_nodes() -> None:
    gpu = {"limits": {"nvidia.com/gpu": 1}}
    terms = required(pod(resources=gpu, accelerator={"product": "NVIDIA-A100-SXM4-40GB"})["affinity"])
    assert terms == [{"matchExpressions": [A100]}]
    amd = pod(resources={"limits": {"amd.com/gpu": 1}}, accelerator={"product": "AMD-Instinct-MI300X"})
    [[expression]] = [term["matchExpressions"] for term in required(amd["affinity"])]
    assert expression["key"] == "amd.com/gpu.product-name"


def test_a_product_is_added_to_each_of_the_users_terms_as_one_is_enough_for_a_node() -> None:
    zone = {"key": "zone", "operator": "Exists"}
    empty: dict[str, Any] = {}
    fields = {"matchFields": [zone]}
    given = affinity([{"matchExpressions": [zone]}, fields, empty])
    given["podAntiAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": []}
    rendered = pod(accelerator={"product": "NVIDIA-A100-SXM4-40GB"}, podTemplate={"affinity": given})["affinity"]
    assert required(rendered) == [{"matchExpressions": [zone, A100]}, {**fields, "matchExpressions": [A100]}, empty]
    assert rendered["podAntiAffinity"] == given["podAntiAffinity"]


@pytest.mark.parametrize(
    "nonsense",
    [{"nodeAffinity": 5}, {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}}],
)
def test_nonsense_is_handed_on_for_the_api_server_to_refuse(nonsense: dict[str, Any]) -> None:
    rendered = pod(accelerator={"product": "x"}, podTemplate={"affinity": nonsense}).get("affinity", {})
    assert all(rendered[name] == value for name, value in nonsense.items())


def test_ranks_have_shared_memory_that_counts_as_the_containers_own() -> None:
    def parallel(size: int, **amounts: dict[str, Any]) -> KubernetesObject:
        return pod(engine={"tensorParallelSize": size}, resources=amounts)

    spec = parallel(2, limits={"nvidia.com/gpu": 2, "memory": "8Gi"}, requests={"memory": "6000Mi", "cpu": 1})
    container = spec["containers"][0]
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}} in spec["volumes"]
    assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "2", "memory": "9Gi"}
    assert container["resources"]["requests"] == {"memory": "7024Mi", "cpu": "1"}
    assert "memory" not in parallel(4, limits={"nvidia.com/gpu": 4})["containers"][0]["resources"]["limits"]
    assert all(volume["name"] != "shm" for volume in parallel(1)["volumes"])


def test_the_host_cache_counts_as_the_containers_own_memory() -> None:
    def resources(**engine: Any) -> KubernetesObject:
        amounts = {"limits": {"nvidia.com/gpu": 2, "memory": "8Gi"}, "requests": {"memory": "6Gi"}}
        found: KubernetesObject = pod(engine=engine, resources=amounts)["containers"][0]["resources"]
        return found

    assert resources(hostCacheMemory="4Gi", tensorParallelSize=2)["limits"]["memory"] == "13Gi"
    cached = resources(hostCacheMemory="4Gi")
    assert (cached["limits"]["memory"], cached["requests"]["memory"]) == ("12Gi", "10Gi")


def test_scheduling_fields_are_those_that_the_user_gave() -> None:
    given = {
        "nodeSelector": {"pool": "gpu"},
        "priorityClassName": "high",
        "runtimeClassName": "nvidia",
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
    }
    rendered = pod(podTemplate=given)
    assert {name: rendered[name] for name in given} == given


def required(affinity: KubernetesObject) -> list[KubernetesObject]:
    terms: list[KubernetesObject] = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    return terms


def affinity(terms: list[dict[str, Any]]) -> dict[str, Any]:
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
