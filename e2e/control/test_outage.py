"""Scenario 9: the API server is away for a minute; the operator is there again when it is, and nothing has moved."""

import time

import pytest

from e2e.cluster import Machine
from e2e.control.conftest import StartOperator
from e2e.scene import Scene, spec_of

OUTAGE_S = 60
KINDS = ("ConfigMap", "Deployment", "ReplicaSet", "Service", "NetworkPolicy")


@pytest.mark.timeout(300)
def test_a_minute_without_the_api_server(control_machine: Machine, scene: Scene, start_operator: StartOperator) -> None:
    operator = start_operator()
    scene.apply(replicas=2)
    scene.wait_settled()
    before = {(kind, obj["metadata"]["uid"]): spec_of(obj) for kind in KINDS for obj in scene.children(kind)}
    pods = scene.engine_uids()
    with control_machine.stopped():
        time.sleep(OUTAGE_S)  # the outage itself
        assert operator.alive, operator.last_words()
    scene.kube.wait("the API server", scene.service, 30)
    scene.apply("after")
    scene.wait_condition("Accepted", name="after", timeout_s=30)
    # What follows, Kubernetes' own controllers do, and those look for an API server again after up to a minute.
    scene.wait_settled("after", timeout_s=120)
    after = {(kind, obj["metadata"]["uid"]): spec_of(obj) for kind in KINDS for obj in scene.children(kind)}
    assert after == before
    assert scene.engine_uids() == pods
    assert operator.alive
