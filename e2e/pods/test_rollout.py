"""Scenarios 4, 5 and 6: rollouts where devices are scarce, revisions that are bad, and services that wait for a GPU."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from e2e.manifests import GPU, condition
from e2e.pods.conftest import ANSWER, CPU_SHARE, ENGINE, MODEL, READY_S, ask, client
from e2e.pods.load import steady_load
from e2e.scene import Scene

ON_A_GPU: dict[str, Any] = {"resources": {"requests": CPU_SHARE, "limits": {"memory": "3Gi", GPU: 1}}}
QUICK = {"surgeTimeout": "8s"}


def edited(**changes: Any) -> dict[str, Any]:
    """The engine with these settings changed: a new revision."""
    return {"engine": {**ENGINE, **changes}}


def most_engines_during(scene: Scene, until: Callable[[], bool], timeout_s: float) -> int:
    """The most engine pods that existed at a time while waiting."""
    most, deadline = 0, time.monotonic() + timeout_s
    while not until():
        assert time.monotonic() < deadline, scene.account()
        most = max(most, len(scene.engines()))
        time.sleep(0.25)
    return most


def rolled(scene: Scene, old: str) -> Callable[[], bool]:
    def is_rolled() -> bool:
        service = scene.service()
        done = condition(service, "Progressing").get("status") == "False"
        return (
            done and service["status"]["currentRevision"] != old and len(scene.engines()) == service["spec"]["replicas"]
        )

    return is_rolled


@pytest.mark.timeout(600)
def test_two_replicas_without_a_free_gpu_are_replaced_one_by_one_and_nobody_notices(
    scene: Scene, gpus: Callable[[int], None]
) -> None:
    gpus(2)
    scene.apply(replicas=2, rollout=QUICK, **ON_A_GPU)
    old = scene.wait_settled(timeout_s=READY_S)["status"]["currentRevision"]
    with steady_load(scene.kube, scene.namespace) as outcomes:
        scene.apply(replicas=2, rollout=QUICK, **ON_A_GPU, **edited(maxNumSeqs=8))
        most_engines_during(scene, rolled(scene, old), 2 * READY_S)
    assert not outcomes.failures, outcomes.failures[:3]
    assert len(outcomes.texts) > 10
    assert scene.service()["status"]["ready"] == "2/2"


@pytest.mark.timeout(600)
def test_with_a_free_gpu_the_new_engine_comes_first(scene: Scene, gpus: Callable[[int], None]) -> None:
    gpus(2)
    scene.apply(rollout=QUICK, **ON_A_GPU)
    old = scene.wait_settled(timeout_s=READY_S)["status"]["currentRevision"]
    with steady_load(scene.kube, scene.namespace, streams=1) as outcomes:
        scene.apply(rollout=QUICK, **ON_A_GPU, **edited(maxNumSeqs=8))
        most = most_engines_during(scene, rolled(scene, old), READY_S)
    assert most == 2
    assert not outcomes.failures, outcomes.failures[:3]


@pytest.mark.timeout(600)
def test_the_last_engine_is_not_taken_down_without_leave(scene: Scene, gpus: Callable[[int], None]) -> None:
    gpus(1)
    scene.apply(rollout=QUICK, **ON_A_GPU)
    scene.wait_settled(timeout_s=READY_S)
    [old] = scene.engine_uids()
    scene.apply(rollout=QUICK, **ON_A_GPU, **edited(maxNumSeqs=8))
    waiting = scene.wait_condition("Progressing", "True", "WaitingForDevice", timeout_s=60)
    assert GPU in waiting["message"]
    time.sleep(12)  # beyond surgeTimeout: what must not happen has had its time
    assert old in scene.engine_uids()
    with client(scene.kube, scene.namespace) as chat:
        assert ANSWER in ask(chat)
    gpus(2)
    scene.kube.wait("the new engine, now that there is a device", lambda: old not in scene.engine_uids(), READY_S)
    scene.wait_settled(timeout_s=READY_S)


BAD = {
    "an image that is not there": ({"engine": {**ENGINE, "image": "pagelet-engine:missing"}}, "ImagePull", "missing"),
    "an option that the engine refuses": (
        edited(kvCacheMemory="100Ki"),
        "",
        "KV",
    ),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("bad", BAD)
def test_a_bad_revision_stops_after_one_pod_and_going_back_touches_no_good_one(scene: Scene, bad: str) -> None:
    change, reason, words = BAD[bad]
    scene.apply(replicas=2)
    scene.wait_settled(timeout_s=READY_S)
    good = scene.engine_uids()
    scene.apply(replicas=2, **change)

    def said() -> Any:
        service = scene.service()
        found = [condition(service, "Accepted"), condition(service, "Progressing"), condition(service, "Degraded")]
        return next((c for c in found if words in c.get("message", "") and reason in (*("",), c["reason"])), None)

    scene.kube.wait(f"a sentence about {words!r}", said, 120, scene.account)
    assert good <= scene.engine_uids()
    assert len(scene.engine_uids() - good) <= 1
    with client(scene.kube, scene.namespace) as chat:
        assert ANSWER in ask(chat)
    scene.apply(replicas=2)
    scene.wait_settled(timeout_s=READY_S)
    assert scene.engine_uids() == good


@pytest.mark.timeout(300)
def test_a_wrong_model_path_is_said_and_the_old_engines_serve(scene: Scene) -> None:
    scene.apply()
    scene.wait_settled(timeout_s=READY_S)
    good = scene.engine_uids()
    scene.apply(model={"source": {"pvc": {"claimName": "models", "path": "no-such-model"}}})
    refused = scene.wait_condition("ModelReady", "False", timeout_s=60)
    assert refused["reason"] not in ("Fetching", "Waiting"), refused
    assert scene.engine_uids() == good
    scene.apply(model={"source": {"pvc": {"claimName": "models", "path": MODEL}}})
    scene.wait_settled(timeout_s=READY_S)
    assert scene.engine_uids() == good


@pytest.mark.timeout(300)
def test_a_service_that_waits_for_gpus_says_so_with_numbers(scene: Scene, gpus: Callable[[int], None]) -> None:
    gpus(2)
    scene.apply("first", **ON_A_GPU)
    scene.wait_settled("first", timeout_s=READY_S)
    two = {"resources": {"requests": CPU_SHARE, "limits": {"memory": "3Gi", GPU: 2}}}
    scene.apply("second", **two)

    def waits() -> Any:
        found = condition(scene.service("second"), "Available")
        return found if found.get("reason") == "Unschedulable" else None

    reason = scene.kube.wait("Unschedulable", waits, 90, lambda: scene.account("second"))
    assert f"2 × {GPU}" in reason["message"], reason
    assert "1 free" in reason["message"], reason
    scene.kube.delete("InferenceService", "first", scene.namespace)
    scene.wait_settled("second", timeout_s=READY_S)
