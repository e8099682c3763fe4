"""Scenario 1: install, apply, wait, chat; and where the time went."""

import time
from typing import Any

from e2e.cluster import Cluster
from e2e.pods.conftest import ANSWER, READY_S, SYSTEM, ask, client
from e2e.scene import Scene


def test_from_a_file_to_a_streamed_answer(cluster: Cluster, scene: Scene, installed: float, capsys: Any) -> None:
    rows = [("helm install --wait", installed)]
    marks = [time.monotonic()]

    def mark(what: str) -> None:
        marks.append(time.monotonic())
        rows.append((what, marks[-1] - marks[-2]))

    scene.apply()
    mark("apply")
    scene.wait_condition("ModelReady", timeout_s=READY_S)
    mark("model Job: verified")
    scene.kube.wait("an engine pod", scene.engines, 30, scene.account)
    mark("engine pod created")
    wait = ("wait", "infsvc/chat", "--for=condition=Available", f"--timeout={READY_S}s")
    cluster.kubectl(*wait, "-n", scene.namespace, timeout_s=READY_S + 10)
    mark("kubectl wait Available")
    with client(scene.kube, scene.namespace) as chat:
        text = ask(chat)
    mark("streamed chat")
    assert ANSWER in text
    with capsys.disabled():
        print("\n" + "\n".join(f"  {what:<26}{seconds:6.1f} s" for what, seconds in rows))
    table = cluster.kubectl("get", "infsvc", "-n", scene.namespace)
    assert table.split()[:7] == ["NAME", "READY", "MODEL", "ACCELERATOR", "REVISION", "URL", "REASON"]
    assert "1/1" in table
    assert "Serving" in table


def test_no_pod_of_a_service_has_a_token(scene: Scene) -> None:
    scene.apply()
    scene.wait_settled(timeout_s=READY_S)
    pods = scene.kube.list("Pod", scene.namespace)
    assert pods
    for pod in pods:
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert not any("projected" in volume for volume in pod["spec"]["volumes"] if "kube-api" in volume["name"])


def test_helm_test_says_that_the_operator_works(cluster: Cluster, installed: float) -> None:
    assert "Succeeded" in cluster.helm("test", "pagelet", "--namespace", SYSTEM, timeout_s=120)
