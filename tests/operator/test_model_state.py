"""What is known of a model, and when it is tried again: whole lives of Jobs, replayed."""

import datetime
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pagelet_api.model_report import FailureReason, ModelFacts, ModelFailure, ModelReport
from pagelet_api.v1alpha1 import InferenceService, load_inference_service
from pagelet_operator.desired import Facts, KubernetesObject, desired_children, new_revision
from pagelet_operator.model_names import job_name, made_claim_name, model_key, source_name
from pagelet_operator.model_state import JobWish, ModelState, kept_model_objects, model_state
from pagelet_operator.observed import ObjectKey, Observed

from .conftest import MODEL_FACTS, document, in_cluster

UID = "0f-1"
NOW_S = 1_795_000_000.0
WRONG_KEY = ModelFailure(reason=FailureReason.WRONG_CREDENTIALS, message="the access key is not known")
MISMATCH = ModelFailure(reason=FailureReason.DIGEST_MISMATCH, message="found another")


def service_of(**model: Any) -> InferenceService:
    fields = document(model=model or {"source": {"pvc": {"claimName": "models"}}})
    fields["metadata"]["uid"] = UID
    return load_inference_service(fields)


class World:
    """The part of a cluster that matters here: applies what is rendered, deletes the Job where it is not wanted, and
    plays the Job controller when told to."""

    def __init__(self, service: InferenceService) -> None:
        self.service = service
        self.children: dict[ObjectKey, KubernetesObject] = {}
        self.pods: list[KubernetesObject] = []
        self.now_s = NOW_S
        self.made = 0

    @property
    def job_key(self) -> ObjectKey:
        return ObjectKey("batch/v1", "Job", job_name("smol", model_key(self.service)))

    @property
    def observed(self) -> Observed:
        return Observed({}, dict(self.children), tuple(self.pods))

    @property
    def state(self) -> ModelState:
        return model_state(self.observed, self.service, self.now_s)

    def reconcile(self) -> ModelState:
        """Until nothing changes; as often as an operator that is restarted between any two writes would."""
        for _ in range(9):
            state = self.state
            facts = Facts("e", "g", model_image="m", model=state.facts)
            wanted = {ObjectKey.of(o): o for o in desired_children(self.service, [], facts, model=state)}
            kept = kept_model_objects(self.observed, self.service, [], state)
            before = dict(self.children)
            for key, obj in wanted.items():
                if key == self.job_key and key not in self.children:
                    self.made += 1
                    obj = obj | {"metadata": obj["metadata"] | {"uid": f"job-{self.made}"}}
                self.children[key] = obj
            for key in self.children.keys() - wanted.keys() - kept:
                del self.children[key]
            if self.children == before:
                return state
        raise AssertionError("it never settles")

    def pod(self, status: dict[str, Any]) -> None:
        """The current Job's pod is in this state."""
        owner = {"uid": f"job-{self.made}", "controller": True}
        metadata = {"name": f"pod-{self.made}", "ownerReferences": [owner], "creationTimestamp": f"{self.made}"}
        self.pods = [pod for pod in self.pods if pod["metadata"]["name"] != metadata["name"]]
        self.pods.append({"metadata": metadata, "status": status})

    def pod_ends(self, message: str, code: int, reason: str = "Error") -> None:
        ended = {"exitCode": code, "reason": reason, "message": message}
        self.pod({"containerStatuses": [{"name": "fetch", "state": {"terminated": ended}}]})

    def job_ends(self, condition: str, at: str = "2026-11-23T10:00:00Z") -> None:
        ended = {"type": condition, "status": "True", "lastTransitionTime": at, "message": "as it is"}
        self.children[self.job_key] = {**self.children[self.job_key], "status": {"conditions": [ended]}}
        self.now_s = 1_795_428_000.0  # the same moment

    def fails(self, failure: ModelFailure) -> None:
        self.pod_ends(ModelReport(failure=failure).to_json(), 1)
        self.job_ends("Failed")


def test_the_moment_of_the_tests_is_the_moment_of_the_job() -> None:
    assert datetime.datetime(2026, 11, 23, 10, tzinfo=datetime.UTC).timestamp() == 1_795_428_000.0


def test_without_facts_and_without_a_job_one_is_made() -> None:
    world = World(service_of())
    assert world.state.job is JobWish.MAKE
    state = world.reconcile()
    assert (state.job, state.facts, state.attempt) == (JobWish.KEEP, None, 1)
    assert world.made == 1


def test_a_report_becomes_facts_that_outlive_the_job() -> None:
    world = World(service_of())
    world.reconcile()
    world.pod_ends(ModelReport(facts=MODEL_FACTS).to_json(), 0, "Completed")
    assert world.reconcile().facts == MODEL_FACTS, "a report is enough: the Job's own status may come later"
    world.job_ends("Complete")
    assert world.reconcile().job is JobWish.KEEP
    del world.children[world.job_key]
    world.pods = []
    state = world.reconcile()
    assert (state.facts, state.job, state.waiting) == (MODEL_FACTS, JobWish.NONE, "")
    assert world.made == 1, "what is known is not looked at again"


def test_a_wrong_key_is_tried_again_slowly_and_shown_all_the_while() -> None:
    world = World(service_of())
    world.reconcile()
    waits = []
    for attempt in range(1, 9):
        world.fails(WRONG_KEY)
        state = world.reconcile()
        assert (state.failure, state.attempt, state.job) == (WRONG_KEY, attempt, JobWish.KEEP)
        assert state.retry_in_s is not None
        waits.append(state.retry_in_s)
        world.now_s += state.retry_in_s
        state = world.reconcile()
        assert world.made == attempt + 1
        assert (state.failure, state.attempt) == (WRONG_KEY, attempt + 1), "the next attempt runs, and may fail alike"
        assert state.waiting
    assert waits == [15, 30, 60, 120, 240, 300, 300, 300]


def test_what_costs_a_download_is_tried_again_once_an_hour_at_most() -> None:
    world = World(service_of())
    world.reconcile()
    waits = []
    for _ in range(8):
        world.fails(MISMATCH)
        state = world.reconcile()
        waits.append(state.retry_in_s)
        world.now_s += state.retry_in_s or 0
        world.reconcile()
    assert waits[:2] == [60, 120]
    assert waits[-1] == 3600


def test_a_success_after_failures_forgets_the_failure() -> None:
    world = World(service_of())
    world.reconcile()
    world.fails(WRONG_KEY)
    world.now_s += 15
    world.reconcile()
    world.pod_ends(ModelReport(facts=MODEL_FACTS).to_json(), 0)
    state = world.reconcile()
    assert (state.facts, state.failure, state.retry_in_s) == (MODEL_FACTS, None, None)


def test_another_source_is_looked_at_at_once() -> None:
    world = World(service_of())
    world.reconcile()
    world.fails(WRONG_KEY)
    old = world.job_key
    world.service = service_of(source={"pvc": {"claimName": "models", "path": "right"}})
    state = world.reconcile()
    assert (state.failure, state.attempt) == (None, 1)
    assert world.job_key in world.children
    assert old not in world.children


def test_a_job_on_its_way_out_is_waited_for() -> None:
    world = World(service_of())
    world.reconcile()
    job = world.children[world.job_key]
    world.children[world.job_key] = job | {"metadata": job["metadata"] | {"deletionTimestamp": "now"}}
    state = world.state
    assert (state.job, state.facts) == (JobWish.NONE, None)


def test_a_job_of_a_deleted_service_of_the_same_name_says_nothing() -> None:
    world = World(service_of())
    world.reconcile()
    world.pod_ends(ModelReport(facts=MODEL_FACTS).to_json(), 0)
    fields = document(model={"source": {"pvc": {"claimName": "models"}}})
    fields["metadata"]["uid"] = "another"
    world.service = load_inference_service(fields)
    assert world.state.facts is None
    assert world.state.job is JobWish.MAKE


@pytest.mark.parametrize("data", [{}, {"facts.json": "{"}, {"facts.json": "{}"}])
def test_spoilt_facts_are_looked_up_again(data: dict[str, str]) -> None:
    world = World(service_of())
    name = job_name("smol", model_key(world.service))
    metadata = {"name": name, "ownerReferences": [{"uid": UID, "controller": True}]}
    world.children[ObjectKey("v1", "ConfigMap", name)] = {"metadata": metadata, "data": data}
    assert world.state.facts is None
    assert world.state.job is JobWish.MAKE


@pytest.mark.parametrize(
    ("message", "code", "reason", "said"),
    [
        ("", 137, "OOMKilled", "ended with code 137 (OOMKilled)"),
        ("Traceback: no such thing", 1, "Error", "it last said: Traceback: no such thing"),
    ],
)
def test_a_job_that_ends_without_a_report_says_what_is_known(message: str, code: int, reason: str, said: str) -> None:
    world = World(service_of())
    world.reconcile()
    world.pod_ends(message, code, reason)
    world.job_ends("Failed")
    failure = world.reconcile().failure
    assert failure is not None
    assert failure.reason is FailureReason.INTERNAL
    assert said in failure.message


def test_a_report_that_is_lost_with_its_pod_is_made_again() -> None:
    world = World(service_of())
    world.reconcile()
    world.job_ends("Complete")
    state = world.reconcile()
    assert state.failure is not None
    assert "report is lost" in state.failure.message
    world.now_s += 15
    world.reconcile()
    assert world.made == 2


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": 'claim "models" not found'}]},
            'finds no node: claim "models" not found',
        ),
        (
            {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]},
            "cannot start: ImagePullBackOff: no such image",
        ),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}, "is being started"),
        ({"containerStatuses": [{"state": {"running": {}}}]}, "the model is being looked at"),
    ],
)
def test_what_a_job_waits_for_is_said(status: dict[str, Any], said: str) -> None:
    world = World(service_of())
    world.reconcile()
    world.pod(status)
    state = world.reconcile()
    assert said in state.waiting
    assert state.failure is None


def test_going_back_to_a_revision_that_exists_looks_at_nothing_again() -> None:
    world = World(service_of())
    world.reconcile()
    world.pod_ends(ModelReport(facts=MODEL_FACTS).to_json(), 0)
    world.reconcile()
    facts = Facts("e", "g", model_image="m", model=MODEL_FACTS)
    old = new_revision(world.service, facts, 1)
    other = service_of(source={"pvc": {"claimName": "models", "path": "next"}})
    state = model_state(world.observed, other, world.now_s)
    kept = kept_model_objects(world.observed, other, [old], state)
    key = model_key(world.service)
    assert kept == {
        world.job_key,
        ObjectKey("v1", "ConfigMap", job_name("smol", key)),
        ObjectKey("v1", "ConfigMap", source_name("smol", key)),
    }


def test_a_claim_stays_while_pods_of_an_old_revision_may_read_from_it() -> None:
    stored = {"source": {"huggingFace": {"repo": "m"}}, "storage": {"pvc": {"size": "5Gi", "retain": False}}}
    world = World(service_of(**stored))
    world.reconcile()
    old = new_revision(world.service, Facts("e", "g", model_image="m", model=MODEL_FACTS), 1)
    other = service_of()
    claim = ObjectKey("v1", "PersistentVolumeClaim", made_claim_name("smol"))
    state = model_state(world.observed, other, NOW_S)
    assert claim in kept_model_objects(world.observed, other, [old], state)
    assert claim not in kept_model_objects(world.observed, other, [], state)


def test_how_much_room_a_model_gets_fetches_nothing_again() -> None:
    def key(storage: dict[str, Any]) -> str:
        return model_key(service_of(source={"huggingFace": {"repo": "m"}}, storage=storage))

    assert key({"ephemeral": {}}) == key({"ephemeral": {"sizeLimit": "99Gi"}})
    assert key({"pvc": {"size": "5Gi"}}) == key({"pvc": {"size": "9Gi", "retain": False}})
    assert len({key({"ephemeral": {}}), key({"pvc": {"size": "5Gi"}}), key({"pvc": {"claimName": "c"}})}) == 3


def test_a_path_is_no_model_of_a_cluster() -> None:
    service = load_inference_service(document())
    state = model_state(Observed({}), service, NOW_S)
    assert (state.job, state.facts, bool(state.waiting)) == (JobWish.NONE, None, True)


texts = st.one_of(
    st.just(""), st.text(max_size=30), st.just(ModelReport(failure=MISMATCH).to_json()), st.just(json.dumps([1]))
)


@given(in_cluster(), texts, st.integers(0, 2**40), st.sampled_from(["Complete", "Failed", ""]))
def test_any_life_of_a_job_settles(service: InferenceService, words: str, now_s: int, end: str) -> None:
    fields = service.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    fields["metadata"] = {"name": "smol", "namespace": "team", "uid": UID}
    world = World(load_inference_service(fields))
    world.now_s = float(now_s)
    world.reconcile()
    world.pod_ends(words, 1)
    if end:
        world.job_ends(end)
    state = world.reconcile()
    assert state.facts is None
    assert state.attempt >= 1
    assert (state.retry_in_s is None) or state.retry_in_s > 0
    assert isinstance(state.facts, ModelFacts | None)
