"""The control plane itself: does it schedule, and does kwok play?"""

import json
from typing import Any

from ..cluster import Cluster, Machine
from ..cluster.account import is_ready
from ..cluster.kwok import HOLD
from ..cluster.node import GPU


def pod(namespace: str, name: str, node_labels: dict[str, str], **metadata: Any) -> dict[str, Any]:
    container = {"name": "engine", "image": "engine", "resources": {"limits": {GPU: "2"}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "spec": {"containers": [container], "nodeSelector": node_labels},
    }


def test_two_hundred_pods_become_ready_on_fifty_nodes(control: Cluster, control_machine: Machine) -> None:
    labels = {"for": "smoke"}
    with control_machine.nodes(50, "smoke", labels), control.namespace("smoke") as namespace:
        control.create(*(pod(namespace, f"engine-{number}", labels) for number in range(200)))

        all_ready = lambda: sum(map(is_ready, control.list("pods", namespace))) == 200  # noqa: E731
        control.wait("200 ready pods", all_ready, timeout_s=60, namespace=namespace)


def test_a_held_pod_is_ready_only_when_it_is_let_go(control: Cluster, control_machine: Machine) -> None:
    labels = {"for": "hold"}
    with control_machine.nodes(1, "hold", labels), control.namespace("hold") as namespace:
        control.create(pod(namespace, "held", labels, annotations={HOLD: "yes"}))
        node = lambda: control.get("pod", "held", namespace)["spec"].get("nodeName")  # noqa: E731
        control.wait("a node for it", node, timeout_s=10, namespace=namespace)
        assert not is_ready(control.get("pod", "held", namespace))

        control.kubectl("annotate", "pod", "held", "-n", namespace, f"{HOLD}-")

        ready = lambda: is_ready(control.get("pod", "held", namespace))  # noqa: E731
        control.wait("it to be ready", ready, timeout_s=10, namespace=namespace)


def test_every_request_is_in_the_audit_log(control: Cluster, control_machine: Machine) -> None:
    control.kubectl("get", "configmaps", "-n", "kube-public")

    lines = control_machine.layout.audit_log.read_text().splitlines()

    entries = [json.loads(line) for line in lines if '"namespace":"kube-public"' in line and '"list"' in line]
    asked = [(entry["user"]["username"], entry["objectRef"]["resource"]) for entry in entries]
    assert ("admin", "configmaps") in asked
