"""Scenarios 9 and 10: what clients see when an engine, its core, a gateway, a node or the API server goes."""

import os
import signal
import time
from pathlib import Path

import pytest

from e2e.cluster import Cluster, CommandError, Machine
from e2e.kube import Object
from e2e.pods.conftest import ANSWER, CPU_ENGINE, ENGINE, READY_S, ask, client
from e2e.pods.load import steady_load
from e2e.scene import Scene

UNLISTED_S = 8
"""Within which a Service sends nobody to a gateway that was killed."""
NOTICED_S = 30
"""Within which clients are served again after a death, where there is another pod to serve them."""


def kill_in_pod(pod: Object, words: str) -> None:
    """kill -9 of the pod's first process whose command line has `words`, by its id on this machine."""
    uid = pod["metadata"]["uid"]
    processes = [path.parent for path in Path("/proc").glob("[0-9]*/cgroup") if uid in read(path)]
    found = sorted(int(path.name) for path in processes if words in read(path / "cmdline"))
    assert found, f"no process of {pod['metadata']['name']} has {words!r} in its command line"
    os.kill(found[0], signal.SIGKILL)


def read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""  # a process that has ended


def drain(cluster: Cluster, node: str) -> str:
    """What kubectl says of it; that it gives up on a budget is not ours to judge."""
    options = ("--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=45s")
    try:
        return cluster.kubectl("drain", node, *options, "--pod-selector=pagelet.io/inference-service=chat")
    except CommandError as error:
        return str(error)


@pytest.fixture
def pair(scene: Scene) -> Scene:
    """Two engines and two gateways."""
    scene.apply(replicas=2, gateway={**CPU_ENGINE["gateway"], "replicas": 2})
    scene.wait_settled(timeout_s=READY_S)
    return scene


@pytest.mark.timeout(600)
@pytest.mark.parametrize("process", ["pagelet_engine.server", "core_process"])
def test_a_killed_engine_costs_its_streams_and_no_more(machine: Machine, pair: Scene, process: str) -> None:
    victim = pair.engines()[0]
    with steady_load(pair.kube, pair.namespace, streams=3) as outcomes:
        pair.kube.wait("a few answers", lambda: len(outcomes.texts) >= 3, 60)
        kill_in_pod(victim, process)
        killed = len(outcomes.failures)
        time.sleep(NOTICED_S)
        noticed = outcomes.count
        pair.kube.wait("answers after it", lambda: outcomes.count > noticed + 5, 60)
        assert len(outcomes.failures) - killed <= 3, outcomes.failures  # at most the streams it was writing
    pair.wait_settled(timeout_s=READY_S)
    with client(pair.kube, pair.namespace) as chat:
        assert ANSWER in ask(chat)


@pytest.mark.timeout(300)
def test_a_deleted_gateway_costs_nothing_and_a_killed_one_its_streams(machine: Machine, pair: Scene) -> None:
    gateways = pair.kube.list("Pod", pair.namespace, labels="pagelet.io/component=gateway")
    with steady_load(pair.kube, pair.namespace, streams=3) as outcomes:
        pair.kube.wait("a few answers", lambda: len(outcomes.texts) >= 3, 60)
        pair.kube.delete("Pod", gateways[0]["metadata"]["name"], pair.namespace)
        pair.kube.wait("two gateways again", lambda: pair.service()["status"].get("ready") == "2/2", 60)
        pair.kube.wait("more answers", lambda: len(outcomes.texts) >= 12, 60)
        assert not outcomes.failures, outcomes.failures
        kill_in_pod(gateways[1], "pagelet_gateway")
        killed_s = time.monotonic()
        time.sleep(NOTICED_S)
        before = len(outcomes.texts)
        pair.kube.wait("answers after it", lambda: len(outcomes.texts) >= before + 8, 90)
        # Until the Service lists it no more, a new connection may still be sent to where nobody listens.
        assert all(failed_s - killed_s < UNLISTED_S for failed_s in outcomes.failed_at_s), outcomes.failures


@pytest.mark.timeout(600)
@pytest.mark.parametrize("replicas", [1, 2])
def test_a_drained_node_loses_nothing(cluster: Cluster, machine: Machine, scene: Scene, replicas: int) -> None:
    """With one node there is nowhere to go: pods are evicted, streams end in peace, all returns with the node."""
    gateway = {**CPU_ENGINE["gateway"], "replicas": replicas}
    # The product's own default: on a busy machine the stream takes longer than the other scenarios' half a minute.
    scene.apply(replicas=replicas, gateway=gateway, engine={**ENGINE, "drainTimeout": "2m"})
    scene.wait_settled(timeout_s=READY_S)
    with client(scene.kube, scene.namespace) as chat:
        stream = chat.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "Count."}], max_tokens=200, stream=True, temperature=0
        )
        first = next(iter(stream))
        assert first.choices
        try:
            drained = drain(cluster, machine.layout.node)
            finish = [choice.finish_reason for chunk in stream for choice in chunk.choices if choice.finish_reason]
        finally:
            cluster.kubectl("uncordon", machine.layout.node)
        assert finish, drained
    scene.wait_settled(timeout_s=READY_S)
    with client(scene.kube, scene.namespace) as chat:
        assert ANSWER in ask(chat)


@pytest.mark.timeout(300)
def test_traffic_goes_on_while_the_api_server_is_away(machine: Machine, pair: Scene) -> None:
    with steady_load(pair.kube, pair.namespace) as outcomes:
        with machine.stopped():
            before = len(outcomes.texts)
            time.sleep(60)  # the outage itself
            during = len(outcomes.texts) - before
        assert during > 5
        assert not outcomes.failures, outcomes.failures
    pair.kube.wait("the API server", pair.service, 60)
    pair.wait_settled(timeout_s=READY_S)
    assert not outcomes.failures, outcomes.failures
