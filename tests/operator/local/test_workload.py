"""Kubernetes objects into pods with addresses, and the hosts file that stands in for DNS."""

from collections.abc import Sequence
from typing import Any

import pytest
from pagelet_operator.local.pod import ConfigMapVolume, HostPathVolume, Pod, UnsupportedPod
from pagelet_operator.local.probe import Exec, HttpGet, Role, TcpSocket
from pagelet_operator.local.workload import hosts_file, read_services, read_workloads


def workload(kind: str, name: str, replicas: int, port: int = 9000, **container: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "metadata": {"name": name, "namespace": "team"},
        "spec": {
            "replicas": replicas,
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 7,
                    "containers": [
                        {
                            "name": "main",
                            "command": ["python"],
                            "args": ["-m", "x"],
                            "ports": [{"name": "grpc", "containerPort": port}],
                            **container,
                        }
                    ],
                    "volumes": container.pop("volumes", []),
                },
            },
        },
    }


def service(name: str, selects: str, *, headless: bool) -> dict[str, Any]:
    spec: dict[str, Any] = {"selector": {"app": selects}}
    if headless:
        spec["clusterIP"] = "None"
    return {"kind": "Service", "metadata": {"name": name, "namespace": "team"}, "spec": spec}


class Addresses:
    """Hands out 127.0.0.2, 127.0.0.3, …"""

    def __init__(self) -> None:
        self.asked: list[Sequence[int]] = []

    def free(self, ports: Sequence[int]) -> str:
        self.asked.append(ports)
        return f"127.0.0.{1 + len(self.asked)}"


def only_pod(*objects: dict[str, Any]) -> Pod:
    [[pod]] = read_workloads(objects, Addresses().free)
    return pod


def test_every_replica_is_a_pod_with_a_name_and_an_address_of_its_own() -> None:
    addresses = Addresses()
    objects = [workload("ReplicaSet", "engine", 2), workload("Deployment", "gateway", 1, port=8000)]
    engines, gateways = read_workloads(objects, addresses.free)
    assert [(pod.name, pod.address) for pod in engines] == [("engine-0", "127.0.0.2"), ("engine-1", "127.0.0.3")]
    assert [pod.name for pod in gateways] == ["gateway-0"]
    assert addresses.asked == [[9000], [9000], [8000]]
    assert engines[0].grace_s == 7
    assert engines[0].containers[0].command == ("python", "-m", "x")


def test_the_first_pod_behind_a_service_with_an_address_gets_that_address() -> None:
    objects = [
        workload("ReplicaSet", "engine", 1),
        workload("Deployment", "gateway", 2, port=8000),
        service("front", "gateway", headless=False),
        service("engines", "engine", headless=True),
    ]
    [engine], gateways = read_workloads(objects, Addresses().free)
    assert engine.address == "127.0.0.2"
    assert [pod.address for pod in gateways] == ["127.0.0.1", "127.0.0.3"]


def test_two_services_that_would_need_one_port_of_one_address_are_refused() -> None:
    objects = [
        workload("Deployment", "a", 1),
        workload("Deployment", "b", 1),
        service("a", "a", headless=False),
        service("b", "b", headless=False),
    ]
    with pytest.raises(UnsupportedPod, match=r"pod b-0: two pods want port 9000 on 127\.0\.0\.1"):
        read_workloads(objects, Addresses().free)


def test_the_hosts_file_names_the_ready_pods_of_a_headless_service_and_no_others() -> None:
    objects = [workload("ReplicaSet", "engine", 3), service("engines", "engine", headless=True)]
    [pods] = read_workloads(objects, Addresses().free)
    text = hosts_file(read_services(objects), lambda pod: pod.name != "engine-1", pods)
    names = "engines engines.team engines.team.svc engines.team.svc.cluster.local"
    assert text == f"127.0.0.2 {names}\n127.0.0.4 {names}\n"


def test_a_field_reference_becomes_its_value() -> None:
    environment = [
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "EMPTY"},
    ]
    pod = only_pod(workload("ReplicaSet", "engine", 1, env=environment))
    assert dict(pod.containers[0].environment) == {"IP": "127.0.0.2", "NAME": "engine-0", "APP": "engine", "EMPTY": ""}


def test_probes_are_read_with_kubernetes_defaults_and_named_ports() -> None:
    pod = only_pod(
        workload(
            "ReplicaSet",
            "engine",
            1,
            startupProbe={"httpGet": {"path": "/ready", "port": "grpc"}, "periodSeconds": 2, "failureThreshold": 900},
            readinessProbe={"tcpSocket": {"port": 9001}},
            livenessProbe={"exec": {"command": ["true"]}},
        )
    )
    probes = pod.containers[0].probes
    assert probes[Role.STARTUP].action == HttpGet("/ready", 9000)
    assert (probes[Role.STARTUP].period_s, probes[Role.STARTUP].failure_threshold) == (2, 900)
    assert probes[Role.READINESS].action == TcpSocket(9001)
    assert probes[Role.LIVENESS].action == Exec(("true",))
    assert (probes[Role.LIVENESS].period_s, probes[Role.LIVENESS].timeout_s) == (10, 1)


def test_volumes_are_config_maps_and_paths_of_this_machine() -> None:
    config_map = {"kind": "ConfigMap", "metadata": {"name": "c", "namespace": "team"}, "data": {"config.json": "{}"}}
    volumes = [{"name": "config", "configMap": {"name": "c"}}, {"name": "model", "hostPath": {"path": "/models/x"}}]
    pod = only_pod(config_map, workload("ReplicaSet", "engine", 1, volumes=volumes))
    assert pod.volumes == {"config": ConfigMapVolume({"config.json": "{}"}), "model": HostPathVolume("/models/x")}


def test_a_config_map_volume_shows_the_keys_it_names_and_no_others() -> None:
    data = {"config.json": "{}", "pod-template.json": "{}"}
    config_map = {"kind": "ConfigMap", "metadata": {"name": "c", "namespace": "team"}, "data": data}
    items = [{"key": "config.json", "path": "config.json"}]
    volumes = [{"name": "config", "configMap": {"name": "c", "items": items}}]
    pod = only_pod(config_map, workload("ReplicaSet", "engine", 1, volumes=volumes))
    assert pod.volumes == {"config": ConfigMapVolume({"config.json": "{}"})}
    items.append({"key": "absent", "path": "x"})
    with pytest.raises(UnsupportedPod, match="ConfigMap c has no key absent"):
        only_pod(config_map, workload("ReplicaSet", "engine", 1, volumes=volumes))


@pytest.mark.parametrize(
    ("container", "sentence"),
    [
        ({"command": []}, "a command is needed"),
        ({"env": [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}, "variable K comes from"),
        ({"readinessProbe": {"httpGet": {"port": "http"}}}, "a probe asks port 'http'; the container has grpc"),
        ({"readinessProbe": {"grpc": {"port": 1}}}, "a probe of an unknown kind"),
        ({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}, "a persistentVolumeClaim, which"),
        ({"volumes": [{"name": "v", "configMap": {"name": "absent"}}]}, "wants ConfigMap absent"),
    ],
)
def test_what_a_process_cannot_have_is_refused_with_its_name(container: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UnsupportedPod, match=sentence):
        only_pod(workload("ReplicaSet", "engine", 1, **container))
