"""The node itself: do pods find each other, and are GPUs counted?"""

from collections.abc import Iterator
from typing import Any

import pytest

from ..cluster import Cluster, CommandError, Machine
from ..cluster.account import condition, is_ready
from ..cluster.images import base_image
from ..cluster.node import GPU

LABELS = {"app": "web"}
SERVE = "mkdir /www && echo hello > /www/index.html && exec python3 -m http.server 8080 --directory /www"


@pytest.fixture(scope="module")
def image(cluster: Cluster, machine: Machine) -> str:
    archive = base_image()
    machine.load(archive)
    return archive.by_digest


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    with cluster.namespace("smoke") as name:
        yield name


def pod(namespace: str, name: str, image: str, script: str, gpus: int = 0) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": image,
        "command": ["/bin/sh", "-c", script],
        "resources": {"limits": {GPU: str(gpus)}} if gpus else {},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": LABELS},
        "spec": {"containers": [container], "restartPolicy": "Never", "terminationGracePeriodSeconds": 0},
    }


def log_of_finished(cluster: Cluster, namespace: str, name: str) -> str:
    """What a pod wrote that ends by itself."""
    done = lambda: cluster.get("pod", name, namespace)["status"]["phase"] == "Succeeded"  # noqa: E731
    cluster.wait(f"pod {name} to succeed", done, timeout_s=30, namespace=namespace)
    return cluster.kubectl("logs", name, "-n", namespace)


def wait_until_ready(cluster: Cluster, namespace: str, name: str) -> None:
    ready = lambda: is_ready(cluster.get("pod", name, namespace))  # noqa: E731
    cluster.wait(f"pod {name} to be ready", ready, timeout_s=30, namespace=namespace)


def test_a_pod_finds_another_by_its_service(cluster: Cluster, namespace: str, image: str) -> None:
    service = {"selector": LABELS, "ports": [{"port": 80, "targetPort": 8080}]}
    metadata = {"name": "web", "namespace": namespace}
    cluster.create(
        pod(namespace, "server", image, SERVE),
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
    )
    wait_until_ready(cluster, namespace, "server")
    ask = f"import urllib.request as u; print(u.urlopen('http://web.{namespace}/', timeout=2).read().decode())"
    patient = f'for i in 1 2 3 4 5; do python3 -c "{ask}" && exit; sleep 1; done; exit 1'
    client = pod(namespace, "client", image, patient)
    client["metadata"]["labels"] = {}

    cluster.create(client)

    assert "hello" in log_of_finished(cluster, namespace, "client")


def test_a_pod_that_wants_more_gpus_than_there_are_is_told_so(cluster: Cluster, namespace: str, image: str) -> None:
    cluster.create(pod(namespace, "greedy", image, "true", gpus=3))

    scheduled = cluster.wait(
        "the scheduler's word",
        lambda: condition(cluster.get("pod", "greedy", namespace), "PodScheduled"),
        timeout_s=10,
        namespace=namespace,
    )

    assert scheduled["reason"] == "Unschedulable"
    assert scheduled["message"].startswith("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")


def test_a_container_learns_which_gpu_is_its(cluster: Cluster, namespace: str, image: str) -> None:
    cluster.create(pod(namespace, "modest", image, "echo $NVIDIA_VISIBLE_DEVICES", gpus=1))

    assert log_of_finished(cluster, namespace, "modest").startswith("GPU-")


def test_gpus_come_and_go(cluster: Cluster, machine: Machine, namespace: str, image: str) -> None:
    machine.set_gpus(3)
    try:
        cluster.create(pod(namespace, "greedy", image, "true", gpus=3))
        log_of_finished(cluster, namespace, "greedy")
        machine.set_gpus(0)
        assert machine.gpus() == 0
    finally:
        machine.set_gpus(2)


def test_a_restarted_kubelet_knows_its_gpus_and_pods(
    cluster: Cluster, machine: Machine, namespace: str, image: str
) -> None:
    cluster.create(pod(namespace, "server", image, SERVE))
    wait_until_ready(cluster, namespace, "server")

    machine.restart("kubelet")

    assert machine.gpus() == 2
    found = cluster.get("pod", "server", namespace)
    assert found is not None
    assert found["status"]["containerStatuses"][0]["restartCount"] == 0


def test_an_api_server_hangs_or_refuses_and_comes_back(cluster: Cluster, machine: Machine) -> None:
    with machine.paused(), pytest.raises(CommandError, match="did not end within"):
        cluster.kubectl("get", "nodes", timeout_s=2)
    with machine.stopped(), pytest.raises(CommandError, match="refused"):
        cluster.kubectl("get", "nodes")
    assert cluster.get("node", machine.layout.node) is not None
