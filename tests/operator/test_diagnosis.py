"""Why pods do not serve, in a sentence with names and numbers."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pagelet_api.model_report import FailureReason, ModelFailure, ModelReport
from pagelet_operator.capacity import Capacity, Pool
from pagelet_operator.diagnosis import Diagnosis, diagnose, diagnose_gateway
from pagelet_operator.observed import ObjectKey, Observed

from .pods_made_here import (
    LONG_AGO,
    NOW_S,
    Obj,
    container,
    ended,
    engine_pod,
    gateway_deployment,
    gateway_pod,
    replica_set,
    waiting,
)

HOUR_S = 3600.0
GPU = "nvidia.com/gpu"


def observed(*pods: Obj, children: tuple[Obj, ...] = ()) -> Observed:
    return Observed({"metadata": {"name": "smol"}}, {ObjectKey.of(child): child for child in children}, tuple(pods))


def found(*pods: Obj, children: tuple[Obj, ...] = (), capacity: Capacity | None = None) -> Diagnosis:
    diagnosis = diagnose(observed(*pods, children=children), "abc", capacity, HOUR_S, NOW_S)
    assert diagnosis is not None
    return diagnosis


def nothing_is_wrong(*pods: Obj) -> bool:
    return diagnose(observed(*pods), "abc", None, HOUR_S, NOW_S) is None


def test_pods_that_serve_start_or_leave_are_well() -> None:
    leaving = engine_pod(containers=[container(ended(1))])
    leaving["metadata"]["deletionTimestamp"] = LONG_AGO
    starting = engine_pod(containers=[container({"running": {}})])
    fresh = engine_pod(scheduled=None, containers=[container(waiting("ContainerCreating"))])
    fresh["status"]["conditions"] = []
    assert nothing_is_wrong()
    assert nothing_is_wrong(engine_pod(ready=True, scheduled=LONG_AGO), leaving, starting, fresh)


def test_a_pod_of_another_revision_says_nothing_about_this_one() -> None:
    assert nothing_is_wrong(engine_pod(revision="other", scheduled=None))


# ---- no node ------------------------------------------------------------------------------------------------------

TWO_GPUS = {"containers": [{"name": "engine", "resources": {"limits": {GPU: "2"}}}]}


@pytest.mark.parametrize(
    ("pools", "said"),
    [
        ([Pool("gpu-a100", 2, 1, 1)], "2 × nvidia.com/gpu wanted, 1 free in pool gpu-a100 (1 of 2 in use); "),
        ([Pool("", 2, 2, 0)], "2 × nvidia.com/gpu wanted, 0 free in the cluster (2 of 2 in use); "),
        ([Pool("a", 4, 2, 1)], "2 free in pool a (2 of 4 in use), at most 1 of them on one node; "),
        ([Pool("a", 2, 1, 1), Pool("b", 8, 8, 0)], "1 free (1 of 2 in pool a, 0 of 8 in pool b); "),
        ([], "2 × nvidia.com/gpu wanted, but no node that it may run on has any; "),
    ],
)
def test_a_pod_without_a_node_says_what_it_wants_and_what_is_free(pools: list[Pool], said: str) -> None:
    diagnosis = found(engine_pod(scheduled=None, spec=TWO_GPUS), capacity=Capacity(GPU, tuple(pools)))
    assert (diagnosis.reason, diagnosis.final) == ("Unschedulable", False)
    assert diagnosis.message.startswith("pod smol-abc-1 finds no node: ")
    assert said in diagnosis.message
    assert diagnosis.message.endswith("the scheduler says: 0/1 nodes available")


def test_without_numbers_the_scheduler_speaks_alone() -> None:
    assert found(engine_pod(scheduled=None)).message == (
        "pod smol-abc-1 finds no node: the scheduler says: 0/1 nodes available"
    )


# ---- containers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("ErrImagePull", "not found"),
        ("ImagePullBackOff", 'Back-off pulling image "registry.example/engine:1": ErrImagePull: not found'),
        ("InvalidImageName", "not found"),
    ],
)
def test_an_image_that_cannot_be_pulled_is_named_in_the_same_words_at_each_attempt(reason: str, message: str) -> None:
    diagnosis = found(engine_pod(containers=[container(waiting(reason, message))]))
    assert diagnosis == Diagnosis(
        "ImagePull",
        "container engine of pod smol-abc-1: its image registry.example/engine:1 cannot be had: not found",
        final=True,
    )


def test_a_missing_secret_is_the_kubelets_sentence() -> None:
    state = waiting("CreateContainerConfigError", 'secret "keys" not found')
    diagnosis = found(engine_pod(containers=[container(state)]))
    assert (diagnosis.reason, diagnosis.final) == ("ConfigError", True)
    assert diagnosis.message.endswith('it cannot be made: secret "keys" not found')


@pytest.mark.parametrize(
    "state", [waiting("CrashLoopBackOff", "back-off 10s"), {"running": {}}, ended(3, "log\nno KV\n\n")]
)
def test_an_engine_that_ends_says_its_last_words_between_attempts_too(state: Obj) -> None:
    diagnosis = found(engine_pod(containers=[container(state, ended(3, "log line\nno KV\n\n"), restartCount=4)]))
    assert diagnosis == Diagnosis(
        "CrashLoop", "container engine of pod smol-abc-1 ended with exit code 3; its last words: no KV", final=True
    )


def test_an_engine_that_said_nothing_is_not_quoted() -> None:
    assert "it said nothing; `kubectl logs" in found(engine_pod(containers=[container(ended(137))])).message


def test_a_crash_that_an_engine_came_through_is_history() -> None:
    assert nothing_is_wrong(engine_pod(containers=[container({"running": {}}, ended(1), started=True)]))
    assert nothing_is_wrong(engine_pod(ready=True, containers=[container({"running": {}}, ended(1), ready=True)]))


def test_memory_is_named_with_its_limit_and_its_field() -> None:
    spec = {"containers": [{"name": "engine", "resources": {"limits": {"memory": "4Gi"}}}]}
    pod = engine_pod(containers=[container(waiting("CrashLoopBackOff"), ended(137, reason="OOMKilled"))], spec=spec)
    assert found(pod) == Diagnosis(
        "OOMKilled",
        "container engine of pod smol-abc-1 took more memory than its limit of 4Gi; raise spec.resources.limits.memory",
        final=True,
    )


def test_a_fetching_init_container_gives_the_models_own_reason() -> None:
    failure = ModelFailure(reason=FailureReason.WRONG_CREDENTIALS, message="the key is not known to s3://models.")
    report = ModelReport(failure=failure).to_json()
    pod = engine_pod(
        init_containers=[container(waiting("CrashLoopBackOff"), ended(1, report), "fetch")],
        containers=[container(waiting("PodInitializing"))],
    )
    assert found(pod) == Diagnosis(
        "WrongCredentials", "container fetch of pod smol-abc-1: the key is not known to s3://models", final=True
    )


def test_an_init_container_that_is_done_is_well() -> None:
    done = container(ended(0, reason="Completed"), name="fetch", ready=True)
    assert nothing_is_wrong(engine_pod(init_containers=[done], containers=[container({"running": {}})]))


# ---- pods ---------------------------------------------------------------------------------------------------------


def test_a_volume_that_does_not_come_is_named_after_a_while() -> None:
    volumes = [
        {"name": "model", "persistentVolumeClaim": {"claimName": "models"}},
        {"name": "config", "configMap": {"name": "smol-abc"}},
        {"name": "credentials", "projected": {"sources": [{"secret": {"name": "keys"}}]}},
        {"name": "scratch", "emptyDir": {}},
    ]
    conditions = [{"type": "PodReadyToStartContainers", "status": "False"}]
    containers = [container(waiting("ContainerCreating"))]
    fields: dict[str, Any] = {"conditions": conditions, "containers": containers, "spec": {"volumes": volumes}}
    diagnosis = diagnose(observed(engine_pod(scheduled=LONG_AGO, **fields)), "abc", None, None, NOW_S)
    assert diagnosis is not None
    assert (diagnosis.reason, diagnosis.final) == ("VolumeNotReady", False)
    assert "waits for its network or one of: claim models, ConfigMap smol-abc, Secret keys; " in diagnosis.message
    assert nothing_is_wrong(engine_pod(**fields))


def test_a_pod_that_is_late_says_so() -> None:
    diagnosis = found(engine_pod(scheduled=LONG_AGO, containers=[container({"running": {}}, started=False)]))
    assert (diagnosis.reason, diagnosis.final) == ("ProgressDeadline", True)
    assert "more than 3600 s after it was given a node" in diagnosis.message


@pytest.mark.parametrize(
    "pod",
    [
        {"conditions": [{"type": "Ready", "status": "Unknown"}]},
        {"reason": "NodeLost"},
        {"conditions": [{"type": "Ready", "status": "False"}, {"type": "ContainersReady", "status": "True"}]},
    ],
)
def test_a_pod_whose_node_fell_silent_says_so(pod: Obj) -> None:
    given = engine_pod(spec={"nodeName": "node-1"})
    status = given["status"]
    status["conditions"] = [status["conditions"][0], *(pod.get("conditions") or status["conditions"][1:])]
    status |= {name: value for name, value in pod.items() if name != "conditions"}
    diagnosis = found(given)
    assert (diagnosis.reason, diagnosis.final) == ("NodeLost", False)
    assert "its node node-1 does not report any more" in diagnosis.message


def test_an_evicted_pod_is_told_of_until_another_explains_the_gap_or_serves() -> None:
    evicted = engine_pod("gone", phase="Failed", reason="Evicted", message="The node was low on resource: memory.")
    assert found(evicted).reason == "Evicted"
    assert found(evicted, engine_pod(scheduled=None)).reason == "Unschedulable"
    assert nothing_is_wrong(evicted, engine_pod(ready=True))


@pytest.mark.parametrize(
    ("message", "reason", "final"),
    [
        ('pods "smol-abc-x7k2p" is forbidden: exceeded quota: gpus, requested: 1', "QuotaExceeded", False),
        (
            'pods "smol-abc-x7k2p" is forbidden: violates PodSecurity "restricted": hostPath',
            "PodsForbidden",
            True,
        ),
        ('admission webhook "w" denied the request: no', "PodsForbidden", True),
        ('failed calling webhook "w": timeout', "PodsForbidden", False),
    ],
)
def test_a_pod_that_the_api_server_refuses_is_told_of_without_its_passing_name(
    message: str, reason: str, final: bool
) -> None:
    failure = {"type": "ReplicaFailure", "status": "True", "message": message}
    diagnosis = found(children=(replica_set(conditions=[failure]),))
    assert (diagnosis.reason, diagnosis.final) == (reason, final)
    assert diagnosis.message.startswith("ReplicaSet smol-abc cannot make a pod: ")
    assert "x7k2p" not in diagnosis.message


def test_the_worst_of_several_is_told_and_its_likes_are_counted() -> None:
    pods = [engine_pod(name, containers=[container(ended(1, "no"))]) for name in ("b", "a", "c")]
    diagnosis = found(engine_pod("z", scheduled=None), *pods)
    assert diagnosis.reason == "CrashLoop"
    assert diagnosis.message == (
        "container engine of pod a ended with exit code 1; its last words: no (and 2 more like it)"
    )


def test_gateways_are_looked_at_in_the_same_way() -> None:
    broken = gateway_pod(containers=[container(ended(1, "bad key file"), name="gateway")])
    diagnosis = diagnose_gateway(observed(broken, engine_pod(scheduled=None)), NOW_S)
    assert diagnosis is not None
    assert diagnosis.message.endswith("its last words: bad key file")
    failure = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: q"}
    quota = diagnose_gateway(observed(children=(gateway_deployment(conditions=[failure]),)), NOW_S)
    assert quota is not None
    assert quota.reason == "QuotaExceeded"
    assert (
        diagnose_gateway(observed(gateway_pod(scheduled=LONG_AGO, containers=[container({"running": {}})])), NOW_S)
        is None
    )


states = st.sampled_from(
    [
        {},
        {"running": {}},
        waiting("ImagePullBackOff", "x"),
        waiting("Odd"),
        ended(0),
        ended(9, '{"facts": 1}'),
        ended(1),
    ]
)
pods = st.builds(
    engine_pod,
    st.sampled_from(["a", "b", "c"]),
    ready=st.booleans(),
    scheduled=st.sampled_from([None, LONG_AGO]),
    containers=st.lists(st.builds(container, states, states, started=st.booleans()), max_size=2),
    phase=st.sampled_from(["Pending", "Running", "Failed", "Unknown"]),
    reason=st.sampled_from(["", "Evicted", "UnexpectedAdmissionError"]),
)


@given(st.lists(pods, max_size=4), st.randoms())
def test_the_same_pods_in_any_order_give_the_same_sentence(some: list[Obj], random: Any) -> None:
    first = diagnose(observed(*some), "abc", None, HOUR_S, NOW_S)
    random.shuffle(some)
    assert diagnose(observed(*some), "abc", None, HOUR_S, NOW_S) == first
    assert first is None or (first.reason and len(first.message) < 2048)
