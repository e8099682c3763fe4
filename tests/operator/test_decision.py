"""The whole decision as one function: the same for the same input, at rest where nothing is left to do, no surprise."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pagelet_api.v1alpha1 import InferenceService
from pagelet_operator.decision import Decision, decide
from pagelet_operator.observed import ObjectKey, Observed
from pagelet_operator.release import Release

from .conftest import services

RELEASE = Release("engine@sha256:1", "gateway@sha256:1", "operator@sha256:1")
NOW_S = 1_800_000_000.0
calm = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def observed(service: InferenceService, **changes: Any) -> Observed:
    """A service as the API server shows it, with nothing made for it yet."""
    live = service.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    live["metadata"] |= {"namespace": "team", "uid": "u-1", "generation": 1, "resourceVersion": "1"}
    return Observed(live | {"apiVersion": "pagelet.io/v1alpha1", "kind": "InferenceService"} | changes)


def shown(decision: Decision) -> str:
    return json.dumps([decision.plan.apply, decision.plan.delete, decision.status([]), decision.wake_in_s], default=str)


def after(before: Observed, decision: Decision) -> Observed:
    """What the API server shows when all of a decision was written, and no controller has done anything."""
    children = dict(before.children)
    for obj in decision.plan.apply:
        metadata = {"uid": "c", "resourceVersion": "2", "creationTimestamp": "2026-11-23T00:00:00Z"}
        children[ObjectKey.of(obj)] = {**obj, "metadata": {**obj["metadata"], **metadata}}
    for key in decision.plan.delete:
        children.pop(key)
    service = {**before.service, "status": decision.status([])}
    return Observed(service, children, before.pods, before.replicas_owned)


@calm
@given(services())
def test_the_same_input_gives_the_same_bytes(service: InferenceService) -> None:
    seen = observed(service)
    assert shown(decide(seen, RELEASE, None, NOW_S)) == shown(decide(seen, RELEASE, None, NOW_S))


@calm
@given(services())
def test_what_was_written_is_not_written_again(service: InferenceService) -> None:
    seen = observed(service)
    for _ in range(4):
        decision = decide(seen, RELEASE, None, NOW_S)
        seen = after(seen, decision)
    rest = decide(seen, RELEASE, None, NOW_S + 1)
    assert rest.plan.is_empty
    assert rest.status([]) == seen.service["status"]


@calm
@given(services(), st.sampled_from([{}, {"x": 1}, {"model": None}, {"replicas": "2"}, {"model": {"source": {}}}]))
def test_what_is_not_understood_is_answered_and_touches_nothing(
    service: InferenceService, spec: dict[str, Any]
) -> None:
    decision = decide(observed(service, spec=spec), RELEASE, None, NOW_S)
    assert decision.plan.is_empty
    status = decision.status([])
    assert status is not None
    accepted = status["conditions"][0]
    assert (accepted["type"], accepted["status"]) == ("Accepted", "False")
    assert accepted["message"]


def test_a_service_that_is_being_deleted_is_left_to_the_garbage_collector(service: InferenceService) -> None:
    seen = observed(service)
    leaving = {**seen.service, "metadata": {**seen.service["metadata"], "deletionTimestamp": "2026-11-23T00:00:00Z"}}
    decision = decide(Observed(leaving), RELEASE, None, NOW_S)
    assert decision.plan.is_empty
    assert decision.status([]) is None


def test_a_status_that_this_release_cannot_read_changes_nothing(service: InferenceService) -> None:
    plain, strange = observed(service), observed(service, status={"ofANewerRelease": [1]})
    assert decide(plain, RELEASE, None, NOW_S).plan == decide(strange, RELEASE, None, NOW_S).plan


def test_the_words_of_the_api_server_become_the_condition(service: InferenceService) -> None:
    decision = decide(observed(service), RELEASE, None, NOW_S, refused_by_server="exceeded quota: gpus")
    assert decision.plan.is_empty
    status = decision.status([])
    assert status is not None
    accepted = status["conditions"][0]
    assert (accepted["reason"], accepted["message"]) == ("RefusedByApiServer", "exceeded quota: gpus")
