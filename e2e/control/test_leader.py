"""Two operators: one works, the other waits; and a death of the leader costs a lease's time and no pod."""

import time
from typing import Any

from e2e.control.conftest import StartOperator
from e2e.scene import Scene

LEASE_S = 15


def leader(scene: Scene) -> str:
    leases = [lease for lease in scene.kube.list("Lease", "default") if "pagelet" in lease["metadata"]["name"]]
    return str(leases[0]["spec"].get("holderIdentity", "")) if leases else ""


def test_a_killed_leader_is_replaced_within_the_lease_and_no_pod_restarts(
    scene: Scene, start_operator: StartOperator
) -> None:
    first: Any = start_operator()
    scene.kube.wait("a leader", lambda: leader(scene), 30)
    second = start_operator()
    scene.apply(replicas=2)
    scene.wait_settled()
    pods = scene.engine_uids()
    old = leader(scene)
    leading, standing = (first, second) if first.metric("pagelet_operator_is_leader") else (second, first)
    leading.kill()
    died_s = time.monotonic()
    scene.apply("next")
    scene.wait_settled("next", timeout_s=90)
    scene.kube.wait("another leader", lambda: leader(scene) not in ("", old), 5)
    assert standing.metric("pagelet_operator_is_leader") == 1
    took_s = time.monotonic() - died_s
    assert took_s < LEASE_S + 30, "the lease's time, and then the time that a service takes on kwok"
    assert scene.engine_uids() == pods


def test_a_leader_that_leaves_hands_over_at_once(scene: Scene, start_operator: StartOperator) -> None:
    first = start_operator()
    scene.kube.wait("a leader", lambda: first.metric("pagelet_operator_is_leader") == 1, 40)
    second = start_operator()
    first.stop()
    scene.kube.wait("the next", lambda: second.metric("pagelet_operator_is_leader") == 1, 8, second.last_words)
