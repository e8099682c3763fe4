"""What is read from live objects: revisions with their counts, and the state of their pods."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pagelet_api.v1alpha1 import InferenceService
from pagelet_operator.desired import Facts, new_revision
from pagelet_operator.desired.engine import engine_children
from pagelet_operator.observed import ObjectKey, Observed
from pagelet_operator.revision import Revision
from pagelet_operator.revisions import (
    FALTERING_S,
    LOST_S,
    SURGE_REFUSED_ANNOTATION,
    known_revisions,
    revision_pods,
)
from pagelet_operator.rollout import RevisionPods

from .conftest import MODEL_FACTS, services
from .pods_made_here import LONG_AGO, NOW_S, Obj, container, engine_pod, replica_set

FACTS = Facts("engine:1", "gateway:1", model_image="operator:1", model=MODEL_FACTS)
OURS = [{"kind": "InferenceService", "name": "smol", "uid": "0f-1", "controller": True}]
DATA = {"config.json": "{}", "pod-template.json": '{"metadata":{},"spec":{}}'}


def at(moment_s: float) -> str:
    return datetime.fromtimestamp(moment_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def observe(children: list[Obj] | tuple[Obj, ...] = (), pods: list[Obj] | tuple[Obj, ...] = ()) -> Observed:
    service = {"metadata": {"name": "smol", "namespace": "team", "uid": "0f-1"}}
    return Observed(service, {ObjectKey.of(child): child for child in children}, tuple(pods))


def config_map(revision: str = "abc", created: str = LONG_AGO, data: dict[str, str] = DATA) -> Obj:
    fields = replica_set(revision, created=created)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": fields["metadata"], "data": data}


def count(*pods: Obj, wanted: int = 2, diagnoses: dict[str, str] | None = None, **status: Any) -> RevisionPods:
    """What the planner is told of revision abc, which has these pods."""
    observed = observe([config_map(), replica_set(replicas=wanted, **status)], pods)
    [counted] = revision_pods(observed, known_revisions(observed), "abc", diagnoses or {}, NOW_S)
    return counted


def deleted(pod: Obj, ends_s: float) -> Obj:
    return {**pod, "metadata": {**pod["metadata"], "deletionTimestamp": at(ends_s)}}


# Revisions.


@given(services(), st.lists(st.integers(0, 3), min_size=1, max_size=3), st.booleans())
def test_a_revision_that_was_applied_is_read_back_as_it_was(
    service: InferenceService, replicas: list[int], surge_refused: bool
) -> None:
    rendered = new_revision(service, FACTS, 0)
    revisions = [
        Revision(f"{number}bcd", wanted, rendered.config, rendered.pod_template, rendered.source, surge_refused)
        for number, wanted in enumerate(replicas)
    ]
    children = {ObjectKey.of(child): child for child in engine_children(service, revisions)}
    metadata = service.metadata.model_dump(by_alias=True)
    known = known_revisions(Observed({"metadata": metadata}, children))
    assert [each.revision for each in known] == revisions
    assert [each.finished for each in known] == [wanted == 0 for wanted in replicas]


def test_revisions_are_ordered_by_when_they_came_up() -> None:
    # A ConfigMap that was deleted and restored is younger than its revision.
    children = [
        replica_set("new", created="2026-11-23T11:00:00Z"),
        config_map("new", created="2026-11-23T11:00:00Z"),
        replica_set("old", created="2026-11-23T10:00:00Z"),
        config_map("old", created="2026-11-23T12:00:00Z"),
    ]
    assert [known.revision.hash for known in known_revisions(observe(children))] == ["old", "new"]


def test_a_revision_without_a_replica_set_wants_nothing() -> None:
    [known] = known_revisions(observe([config_map()]))
    assert (known.revision.replicas, known.finished) == (0, True)


def test_a_replica_set_that_is_being_deleted_wants_nothing() -> None:
    leaving = deleted(replica_set(replicas=2), NOW_S)
    [known] = known_revisions(observe([config_map(), leaving]))
    assert known.revision.replicas == 0


@pytest.mark.parametrize("lost", [[], [config_map(data={"config.json": "{}"})], [config_map(data={})]])
def test_a_replica_set_without_its_config_map_is_not_lost(lost: list[Obj]) -> None:
    live = replica_set(replicas=2)
    live["spec"]["template"] = {"metadata": {}, "spec": {"restartPolicy": "Always"}}
    live["metadata"]["annotations"] = {SURGE_REFUSED_ANNOTATION: "true"}
    [known] = known_revisions(observe([live, *lost]))
    assert known.is_remnant
    assert known.surge_refused
    assert (known.revision.replicas, known.revision.pod_template) == (2, live["spec"]["template"])


def test_what_somebody_else_controls_is_no_revision_of_ours() -> None:
    theirs, ours = config_map(), config_map("def")
    theirs["metadata"]["ownerReferences"] = [{"kind": "Other", "uid": "0f-2", "controller": True}]
    ours["metadata"]["ownerReferences"] = OURS
    assert [known.revision.hash for known in known_revisions(observe([theirs, ours]))] == ["def"]


def test_objects_that_only_look_like_a_revision_are_left_out() -> None:
    copy = config_map()
    copy["metadata"] = {**copy["metadata"], "name": "smol-copy"}
    gateway = config_map("")
    gateway["metadata"]["labels"] = {"pagelet.io/component": "gateway"}
    assert known_revisions(observe([copy, gateway])) == ()


def test_a_revision_is_finished_when_its_last_pod_is_gone() -> None:
    def finished(pods: list[Obj], **status: Any) -> bool:
        [known] = known_revisions(observe([config_map(), replica_set("abc", 0, LONG_AGO) | {"status": status}], pods))
        return known.finished

    assert finished([])
    assert not finished([], replicas=1)  # its controller knows of a pod that we have not seen yet
    assert not finished([deleted(engine_pod(ready=True), NOW_S)])
    assert finished([engine_pod(phase="Failed")])
    assert finished([engine_pod(revision="def")])


# Pods.


def test_ready_waiting_and_draining_pods_are_counted_apart() -> None:
    pods = [
        engine_pod("1", ready=True),
        engine_pod("2"),
        deleted(engine_pod("3", ready=True), NOW_S + 300),
        engine_pod("4", phase="Failed"),
        engine_pod("5", revision="def", ready=True),
    ]
    assert count(*pods) == RevisionPods("abc", wanted=2, pods=2, ready=1, leaving=1)


def test_a_new_target_comes_last_and_has_no_pods() -> None:
    observed = observe([config_map(), replica_set()])
    counted = revision_pods(observed, known_revisions(observed), "new", {}, NOW_S)
    assert [(each.hash, each.wanted) for each in counted] == [("abc", 1), ("new", 0)]
    assert len(revision_pods(observed, known_revisions(observed), "", {}, NOW_S)) == 1


def test_a_pod_of_a_node_that_is_gone_is_not_waited_for_forever() -> None:
    leaving = [deleted(engine_pod(), NOW_S - LOST_S + 1), deleted(engine_pod(), NOW_S - LOST_S - 1)]
    assert count(*leaving).leaving == 1


def test_a_pod_that_has_ended_holds_no_device_while_it_is_deleted() -> None:
    assert count(deleted(engine_pod(phase="Succeeded"), NOW_S)).leaving == 0


def test_the_pod_that_waits_longest_for_a_node_says_since_when() -> None:
    unseen = engine_pod("1", scheduled=None)  # the scheduler has not looked at it yet
    unseen["metadata"]["creationTimestamp"] = at(NOW_S - 5)
    unseen["status"]["conditions"] = []
    refused = engine_pod("2", scheduled=None)
    refused["status"]["conditions"][0]["lastTransitionTime"] = at(NOW_S - 30)
    bound = engine_pod("3", spec={"nodeName": "n"})
    assert count(unseen).unscheduled_since_s == NOW_S - 5
    assert count(unseen, refused, bound).unscheduled_since_s == NOW_S - 30
    assert count(bound, engine_pod("4", ready=True)).unscheduled_since_s is None
    assert count(deleted(refused, NOW_S)).unscheduled_since_s is None


def test_a_pod_over_the_quota_waits_like_one_without_a_node() -> None:
    def failure(message: str) -> Obj:
        since = {"lastTransitionTime": at(NOW_S - 40), "message": message}
        return {"conditions": [{"type": "ReplicaFailure", "status": "True", **since}]}

    quota = failure('pods "smol-abc-1" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=1')
    assert count(**quota).unscheduled_since_s == NOW_S - 40
    assert count(engine_pod("1"), engine_pod("2"), **quota).unscheduled_since_s is None
    assert count(**failure("denied the request by a webhook")).unscheduled_since_s is None


def test_an_engine_that_has_just_stopped_answering_falters() -> None:
    def pod(started: bool, since_s: float) -> Obj:
        pod = engine_pod(containers=[container({"running": {}}, started=started)])
        pod["status"]["conditions"][1]["lastTransitionTime"] = at(since_s)
        return pod

    assert count(pod(True, NOW_S - 5)).faltering == 1
    assert count(pod(True, NOW_S - FALTERING_S)).faltering == 0  # for too long
    assert count(pod(False, NOW_S - 5)).faltering == 0  # it starts (again)
    assert count(engine_pod(ready=True)).faltering == 0


def test_diagnoses_reach_the_planner() -> None:
    assert count(engine_pod(), diagnoses={"abc": "No such image", "def": "x"}).failing == "No such image"


containers = st.builds(
    lambda started, state: container(state, started=started), st.booleans(), st.sampled_from([{"running": {}}, {}])
)
moments = st.floats(NOW_S - 200, NOW_S + 200).map(at)
statuses = st.fixed_dictionaries(
    {},
    optional={
        "phase": st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown"]),
        "containerStatuses": st.lists(containers, max_size=2),
        "conditions": st.lists(
            st.fixed_dictionaries(
                {"type": st.sampled_from(["Ready", "PodScheduled"]), "status": st.sampled_from(["True", "False"])},
                optional={"lastTransitionTime": moments},
            ),
            max_size=3,
        ),
    },
)
any_pods = st.builds(
    lambda metadata, spec, status: {
        "metadata": {"name": "p", "labels": engine_pod()["metadata"]["labels"], **metadata},
        **({"spec": spec} if spec is not None else {}),
        "status": status,
    },
    st.fixed_dictionaries({}, optional={"deletionTimestamp": moments, "creationTimestamp": moments}),
    st.sampled_from([None, {}, {"nodeName": "n"}]),
    statuses,
)


@given(st.lists(any_pods, max_size=5))
def test_any_pods_add_up(pods: list[Obj]) -> None:
    counted = count(*pods)
    assert counted.ready + counted.faltering <= counted.pods
    assert counted.pods + counted.leaving <= len(pods)
