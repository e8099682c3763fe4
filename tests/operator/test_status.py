"""What the status says, and that it never lies, never flickers, and never says the same thing twice."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pagelet_api.model_report import FailureReason, ModelFacts, ModelFailure
from pagelet_api.sizes import ModelShape
from pagelet_api.v1alpha1 import InferenceServiceStatus, load_inference_service
from pagelet_operator.acceptance import Refusal
from pagelet_operator.desired import Facts
from pagelet_operator.diagnosis import Diagnosis
from pagelet_operator.model_state import ModelState
from pagelet_operator.observed import ObjectKey, Observed
from pagelet_operator.rollout import RolloutPhase, RolloutStep
from pagelet_operator.status import compute_status

from .pods_made_here import Obj, container, ended, engine_pod, gateway_pod, replica_set

NOW, EARLIER = "2027-01-15T08:00:00Z", "2027-01-15T07:00:00Z"
SHAPE = ModelShape("LlamaForCausalLM", 64, 2, 4, 2, 16, 128, 256, 1024, (None,) * 2, checkpoint_dtype="bfloat16")
MODEL = ModelFacts(digest="sha256:" + 64 * "a", folder="", num_bytes=1, shape=SHAPE)
KNOWN = ModelState(facts=MODEL)
FETCHING = ModelState(waiting="the model is being looked at")
FAILED = ModelState(failure=ModelFailure(reason=FailureReason.SOURCE_NOT_FOUND, message="no bucket models"))
CRASH = Diagnosis("CrashLoop", "container engine of pod a ended with exit code 1", final=True)
NO_NODE = Diagnosis("Unschedulable", "pod a finds no node: 2 × nvidia.com/gpu wanted, 0 free", final=False)
DONE = RolloutStep({"abc": 1}, RolloutPhase.DONE, "1 engine is ready, of revision abc.")
ROLLING = RolloutStep({"abc": 1}, RolloutPhase.ROLLING, "0 of 1 wanted engines of revision abc ready.")
HELD = RolloutStep({}, RolloutPhase.HELD, "there is no target")


def document(before: Obj | None = None, **spec: Any) -> Obj:
    return {
        "apiVersion": "pagelet.io/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": "smol", "namespace": "team", "uid": "1", "generation": 7},
        "spec": {"model": {"source": {"pvc": {"claimName": "models"}}}, "engine": {"kvCacheMemory": "1Mi"}, **spec},
        "status": before or {},
    }


def status_of(
    children: tuple[Obj, ...] = (),
    pods: tuple[Obj, ...] = (),
    *,
    before: Obj | None = None,
    readable: bool = True,
    model: ModelState | None = KNOWN,
    step: RolloutStep | None = DONE,
    target: str = "abc",
    refusal: Refusal | None = None,
    diagnoses: dict[str, Diagnosis] | None = None,
    conflicts: tuple[str, ...] = (),
    errors: tuple[str, ...] = (),
    owned: bool = True,
    replicas: int | None = None,
    now: str = NOW,
    **spec: Any,
) -> Obj:
    service = document(before, **spec)
    observed = Observed(service, {ObjectKey.of(child): child for child in children}, pods, replicas_owned=owned)
    return compute_status(
        observed,
        load_inference_service({**service, "status": None}) if readable else None,
        refusal=refusal,
        model_state=model,
        step=step,
        target_hash=target,
        diagnoses=diagnoses or {},
        plan_conflicts=conflicts,
        apply_errors=errors,
        facts=Facts("engine", "gateway", model=model.facts if model else None),
        now=now,
        replicas=replicas,
    )


def condition(status: Obj, type_: str) -> tuple[str, str, str]:
    (found,) = (condition for condition in status["conditions"] if condition["type"] == type_)
    return found["status"], found["reason"], found["message"]


def ready_engine(name: str = "a", revision: str = "abc") -> Obj:
    return engine_pod(name, revision, ready=True)


def ready_gateway(name: str = "g") -> Obj:
    return gateway_pod(name, ready=True)


SERVING = ((replica_set(),), (ready_engine(), ready_gateway("g1"), ready_gateway("g2")))


def test_a_service_that_serves_says_so_in_full() -> None:
    status = status_of(*SERVING)
    assert [(c["type"], c["status"], c["reason"]) for c in status["conditions"]] == [
        ("Accepted", "True", "Accepted"),
        ("ModelReady", "True", "Verified"),
        ("Progressing", "False", "Complete"),
        ("Available", "True", "Serving"),
        ("Degraded", "False", "AsWanted"),
    ]
    assert {name: value for name, value in status.items() if name != "conditions"} == {
        "observedGeneration": 7,
        "replicas": 1,
        "readyReplicas": 1,
        "ready": "1/1",
        "selector": "pagelet.io/component=engine,pagelet.io/inference-service=smol",
        "url": "http://smol.team.svc:8000",
        "currentRevision": "smol-abc",
        "updatedRevision": "smol-abc",
        "revisions": [{"name": "smol-abc", "replicas": 1, "ready": 1, "reason": ""}],
        "model": {
            "digest": MODEL.digest,
            "architecture": "LlamaForCausalLM",
            "parameters": 106816,
            "weightBytes": 213632,
            "maxModelLen": 1024,
        },
        # 2 layers × K and V × 2 heads × 16 × 16 tokens × 2 bytes = 4 KiB a block.
        "capacity": {"blockSize": 16, "blocksPlanned": 256, "tokensPerReplica": 4096},
    }


def test_weights_are_counted_as_they_are_held() -> None:
    # Rows of a layer: qkv 128, attention out 64, gate 128, up 128, down 64; inputs 64, and 128 of down.
    weights, rows, others = 2 * 36864, 2 * 512, 256 * 64 * 2 + 5 * 64
    sizes = {
        quantization: status_of(*SERVING, engine={"quantization": quantization})["model"]["weightBytes"]
        for quantization in ("none", "int8", "int4")
    }
    assert sizes == {
        "none": 2 * (others + weights),
        "int8": 2 * others + weights + 4 * rows,
        "int4": 2 * others + weights // 2 + weights // 16,
    }


def test_the_size_of_weights_that_cannot_be_held_as_asked_for_is_not_known() -> None:
    ragged = ModelState(facts=MODEL.model_copy(update={"shape": replace(SHAPE, intermediate_size=100)}))
    refusal = Refusal("NotQuantizable", "spec.engine.quantization: …")
    status = status_of(*SERVING, model=ragged, refusal=refusal, engine={"quantization": "int4"})
    assert status["model"]["parameters"] > 0
    assert "weightBytes" not in status["model"]
    assert "capacity" not in status


# ---- Accepted, ModelReady, Progressing ----------------------------------------------------------------------------


def test_a_refused_spec_says_why_and_that_nothing_is_changed() -> None:
    refusal = Refusal("TooFewDevices", "spec.engine.tensorParallelSize: …")
    status = status_of(*SERVING, refusal=refusal, step=HELD, target="", replicas=5)
    assert condition(status, "Accepted") == ("False", "TooFewDevices", "spec.engine.tensorParallelSize: …")
    assert condition(status, "Progressing")[:2] == ("False", "Held")
    assert condition(status, "Available")[0] == "True", "what runs goes on"
    assert (status["ready"], status["currentRevision"]) == ("1/1", "smol-abc")
    assert "updatedRevision" not in status


def test_a_refused_spec_of_which_nothing_runs_is_the_reason_why_nothing_answers() -> None:
    status = status_of(refusal=Refusal("PathInCluster", "no folder"), step=HELD, target="", model=FETCHING)
    assert condition(status, "Available") == ("False", "NotAccepted", "no folder")
    assert condition(status, "ModelReady")[:2] == ("Unknown", "NotAccepted")


def test_a_file_that_cannot_be_read_keeps_what_was_known_of_its_model() -> None:
    before = status_of(*SERVING)
    status = status_of(
        *SERVING, before=before, readable=False, model=None, step=None, target="", refusal=Refusal("NotUnderstood", "x")
    )
    assert condition(status, "Accepted")[:2] == ("False", "NotUnderstood")
    assert (status["model"], status["capacity"]) == (before["model"], before["capacity"])


@pytest.mark.parametrize(
    ("model", "ready", "progressing", "available"),
    [
        (FETCHING, ("Unknown", "Fetching"), ("True", "WaitingForModel"), "WaitingForModel"),
        (FAILED, ("False", "SourceNotFound"), ("False", "Held"), "ModelNotReady"),
    ],
)
def test_a_model_that_is_not_there_is_what_everything_waits_for(
    model: ModelState, ready: tuple[str, str], progressing: tuple[str, str], available: str
) -> None:
    status = status_of(model=model, step=HELD)
    assert condition(status, "ModelReady")[:2] == ready
    assert condition(status, "Progressing")[:2] == progressing
    assert condition(status, "Available")[:2] == ("False", available)
    assert not {"model", "capacity"} & status.keys()


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        (RolloutPhase.ROLLING, ("True", "RollingOut", "words")),
        (RolloutPhase.FAILED, ("False", "CrashLoop", "words")),
        (RolloutPhase.DONE, ("False", "Complete", "words")),
        (RolloutPhase.HELD, ("False", "Held", "words")),
    ],
)
def test_progressing_is_the_rollouts_own_sentence(phase: RolloutPhase, expected: tuple[str, str, str]) -> None:
    status = status_of(*SERVING, step=RolloutStep({"abc": 1}, phase, "words"), diagnoses={"abc": CRASH})
    assert condition(status, "Progressing") == expected


def test_a_rollout_that_waits_for_a_device_says_which() -> None:
    waiting = Diagnosis("Unschedulable", "2 × nvidia.com/gpu wanted, 1 free", final=False)
    step = RolloutStep({"abc": 1}, RolloutPhase.WAITING_FOR_DEVICE, "No device is free.")
    status = status_of(*SERVING, step=step, diagnoses={"abc": waiting})
    said = ("True", "WaitingForDevice", "No device is free. 2 × nvidia.com/gpu wanted, 1 free")
    assert condition(status, "Progressing") == said


# ---- Available ----------------------------------------------------------------------------------------------------


def test_engines_without_a_gateway_are_not_available() -> None:
    broken = gateway_pod(containers=[container(ended(1, "bad key file"), name="gateway")])
    status = status_of((replica_set(),), (ready_engine(), broken))
    assert condition(status, "Available")[1] == "GatewayNotReady"
    assert "bad key file" in condition(status, "Available")[2]
    assert condition(status, "Degraded")[:2] == ("True", "GatewayNotReady")
    assert condition(status_of((replica_set(),), (ready_engine(),)), "Available")[:2] == ("False", "GatewayNotReady")


@pytest.mark.parametrize(
    ("spec", "reason"), [({"suspend": True, "replicas": 2}, "Suspended"), ({"replicas": 0}, "ScaledToZero")]
)
def test_no_engines_on_purpose_is_no_fault(spec: Obj, reason: str) -> None:
    status = status_of((replica_set(replicas=0),), (ready_gateway(),), step=DONE, **spec)
    assert condition(status, "Available")[:2] == ("False", reason)
    assert condition(status, "Degraded")[0] == "False"
    assert status["ready"] == "0/0"
    assert "currentRevision" not in status


def test_why_no_engine_is_ready_is_the_reason_that_kubectl_shows() -> None:
    waiting = engine_pod(scheduled=None)
    status = status_of((replica_set(),), (waiting, ready_gateway()), step=ROLLING, diagnoses={"abc": NO_NODE})
    assert condition(status, "Available") == ("False", "Unschedulable", NO_NODE.message)
    assert condition(status, "Degraded") == ("True", "Unschedulable", NO_NODE.message)
    assert status["revisions"][0]["reason"] == "Unschedulable"
    starting = status_of((replica_set(),), (engine_pod(), ready_gateway()), step=ROLLING)
    assert condition(starting, "Available")[:2] == ("False", "EnginesNotReady")
    assert condition(starting, "Degraded")[0] == "False"


def test_an_engine_that_leaves_or_has_ended_does_not_count() -> None:
    leaving, gone = ready_engine(), ready_engine("gone")
    leaving["metadata"]["deletionTimestamp"] = NOW
    gone["status"]["phase"] = "Failed"
    status = status_of((replica_set(),), (leaving, gone, ready_gateway()), step=ROLLING)
    assert (status["replicas"], status["readyReplicas"]) == (0, 0)
    assert condition(status, "Available")[0] == "False"


# ---- Degraded -----------------------------------------------------------------------------------------------------


def test_writes_that_failed_and_objects_of_others_are_told_first() -> None:
    conflicts = ("Service/smol: exists already.",)
    status = status_of(*SERVING, conflicts=conflicts, errors=("applying ConfigMap/a: no.", "b"))
    assert condition(status, "Degraded") == ("True", "ApplyFailed", "applying ConfigMap/a: no; b")
    status = status_of(*SERVING, conflicts=conflicts)
    assert condition(status, "Degraded") == ("True", "Conflict", "Service/smol: exists already")


def test_a_rollout_in_flight_is_not_degraded_and_a_failed_one_is() -> None:
    children = (replica_set("old", created="2026-01-01T00:00:00Z"), replica_set())
    pods = (ready_engine("o", "old"), engine_pod("n"), ready_gateway(), ready_gateway("h"))
    rolling = status_of(children, pods, step=ROLLING)
    assert condition(rolling, "Degraded")[0] == "False"
    assert (rolling["currentRevision"], rolling["updatedRevision"]) == ("smol-old", "smol-abc")
    failed = RolloutStep({"abc": 1, "old": 1}, RolloutPhase.FAILED, "words")
    status = status_of(children, pods, step=failed, diagnoses={"abc": CRASH})
    assert condition(status, "Degraded") == ("True", "CrashLoop", CRASH.message)
    assert condition(status, "Available")[0] == "True"


def test_an_engine_that_is_lost_is_missed_until_it_is_back() -> None:
    both = (ready_engine("a"), ready_engine("b"), ready_gateway(), ready_gateway("h"))
    one = (ready_engine("a"), engine_pod("c"), ready_gateway(), ready_gateway("h"))
    children = (replica_set(replicas=2),)
    whole = status_of(children, both, replicas=2)
    lost = status_of(children, one, step=ROLLING, before=whole, replicas=2)
    assert condition(lost, "Degraded") == ("True", "EnginesMissing", "1 of 2 engines are ready")
    assert status_of(children, one, step=ROLLING, before=lost, replicas=2) == lost
    assert condition(status_of(children, both, before=lost, replicas=2), "Degraded")[0] == "False"


def test_engines_that_are_only_being_added_are_not_missed() -> None:
    before = status_of(*SERVING)
    pods = (*SERVING[1], engine_pod("b"))
    status = status_of((replica_set(replicas=2),), pods, step=ROLLING, before=before, replicas=2)
    assert condition(status, "Degraded")[0] == "False"
    assert status["ready"] == "1/2"


# ---- numbers and times --------------------------------------------------------------------------------------------


def test_replicas_that_nobody_owns_are_those_that_run() -> None:
    assert status_of((replica_set(replicas=3),), owned=False)["ready"] == "0/3"
    assert status_of((), owned=False)["ready"] == "0/1"
    assert status_of((replica_set(replicas=3),), owned=True)["ready"] == "0/1"


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    before = status_of(*SERVING, now=EARLIER)
    same = status_of(*SERVING, before=before, now=NOW)
    assert same == before
    gone = status_of((replica_set(),), (), before=before, step=ROLLING, now=NOW)
    times = {c["type"]: c["lastTransitionTime"] for c in gone["conditions"]}
    assert (times["Accepted"], times["Available"]) == (EARLIER, NOW)


def test_only_the_latest_sixteen_revisions_are_listed() -> None:
    children = tuple(replica_set(f"r{i:02}", created=f"2026-01-{i + 1:02}T00:00:00Z") for i in range(20))
    status = status_of(children, target="r19")
    assert [revision["name"] for revision in status["revisions"]] == [f"smol-r{i:02}" for i in range(4, 20)]


def test_a_very_long_sentence_is_cut_to_what_the_api_server_takes() -> None:
    status = status_of(*SERVING, errors=("x" * 40000,))
    assert len(condition(status, "Degraded")[2]) == 32768


engines = st.builds(
    engine_pod,
    st.sampled_from("abcd"),
    st.sampled_from(["abc", "old"]),
    ready=st.booleans(),
    scheduled=st.sampled_from([None, "2026-11-23T10:00:00Z"]),
    phase=st.sampled_from(["Pending", "Running", "Failed"]),
)
pods = st.lists(st.one_of(engines, st.builds(gateway_pod, st.just("g"), ready=st.booleans())), max_size=5).map(tuple)
given_states = st.fixed_dictionaries(
    {
        "children": st.lists(
            st.builds(replica_set, st.sampled_from(["abc", "old"]), st.integers(0, 3)), max_size=2
        ).map(tuple),
        "pods": pods,
        "model": st.sampled_from([KNOWN, FETCHING, FAILED, None]),
        "step": st.sampled_from(
            [None, *(RolloutStep({}, phase, f"words about {phase}") for phase in RolloutPhase)],
        ),
        "target": st.sampled_from(["", "abc"]),
        "refusal": st.sampled_from([None, Refusal("Reason", "words")]),
        "diagnoses": st.dictionaries(st.sampled_from(["abc", "old"]), st.sampled_from([CRASH, NO_NODE])),
        "conflicts": st.sampled_from([(), ("c",)]),
        "errors": st.sampled_from([(), ("e",)]),
        "owned": st.booleans(),
        "suspend": st.booleans(),
    }
)


@given(given_states, given_states)
def test_whatever_is_there_a_status_is_true_whole_and_at_rest(earlier: Obj, later: Obj) -> None:
    before = status_of(**earlier, now=EARLIER)
    status = status_of(**later, before=before, now=NOW)
    InferenceServiceStatus.model_validate_json(json.dumps(status), strict=True, by_alias=True, by_name=False)
    assert [c["type"] for c in status["conditions"]] == [
        "Accepted",
        "ModelReady",
        "Progressing",
        "Available",
        "Degraded",
    ]

    def is_ready(pod: Obj, component: str) -> bool:
        of_it = pod["metadata"]["labels"]["pagelet.io/component"] == component
        says = any(c == {"type": "Ready", "status": "True", "reason": ""} for c in pod["status"]["conditions"])
        return of_it and says and pod["status"]["phase"] != "Failed"

    answers = all(any(is_ready(pod, part) for pod in later["pods"]) for part in ("engine", "gateway"))
    assert (condition(status, "Available")[0] == "True") is answers

    settled = status_of(**later, before=status, now=NOW)
    assert status_of(**later, before=settled, now="2027-01-15T09:00:00Z") == settled
