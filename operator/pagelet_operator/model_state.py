"""What is known of a service's model, and whether its Job should exist now. Pure.

The truth is the ConfigMap with the facts; before it exists, the report of the Job's pod. A Job that failed is tried
again by deleting it: its count and its failure are kept on the source's ConfigMap, so that no restart of the operator
forgets them. Retries cost what they cost others: a wrong key is looked at again every few minutes, because somebody is
mending it; a model that is wrong is fetched again every hour at most.
"""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum, auto

from pagelet_api.model_report import FailureReason, ModelFacts, ModelFailure
from pagelet_api.v1alpha1 import InferenceService
from pydantic import ValidationError

from pagelet_operator.model_names import (
    ATTEMPT_ANNOTATION,
    FACTS_FILE,
    FAILED_ATTEMPTS_ANNOTATION,
    LAST_FAILURE_ANNOTATION,
    job_name,
    made_claim_name,
    model_key,
    source_name,
)
from pagelet_operator.model_pods import ended_without_report, obstacle, report_of
from pagelet_operator.observed import KubernetesObject, ObjectKey, Observed
from pagelet_operator.revision import Revision

__all__ = ["JobWish", "ModelState", "kept_model_objects", "model_key", "model_state"]

_FIRST_RETRY_S, _SLOWEST_RETRY_S = 15.0, 300.0
_FIRST_REFETCH_S, _SLOWEST_REFETCH_S = 60.0, 3600.0
_COSTS_A_FETCH = frozenset(
    {FailureReason.DIGEST_MISMATCH, FailureReason.MODEL_NOT_SUPPORTED, FailureReason.MODEL_INCOMPLETE}
)


class JobWish(Enum):
    """What should become of the model's Job."""

    MAKE = auto()
    KEEP = auto()  # as it is, whatever a newer release would render
    NONE = auto()  # not needed, or to be deleted so that it can be made again


@dataclass(frozen=True, slots=True)
class ModelState:
    facts: ModelFacts | None = None
    """What was found; None: the model is not known yet."""
    failure: ModelFailure | None = None
    """Why the latest attempt failed, also while the next one runs."""
    waiting: str = ""
    """What happens meanwhile, one sentence; empty: nothing, the model is known."""
    retry_in_s: float | None = None
    """When the next attempt is due."""
    job: JobWish = JobWish.NONE
    attempt: int = 1
    """The how manyth Job it is, or will be."""


def model_state(observed: Observed, service: InferenceService, now_s: float) -> ModelState:
    """What is known of the model that `service` asks for now."""
    if service.spec.model.source.path is not None:
        return ModelState(waiting="a folder of one machine is no model that a cluster could have")
    name, key = service.metadata.name, model_key(service)
    job = _own(observed, service, ObjectKey("batch/v1", "Job", job_name(name, key)))
    known = _facts(_own(observed, service, ObjectKey("v1", "ConfigMap", job_name(name, key))))
    memory = _own(observed, service, ObjectKey("v1", "ConfigMap", source_name(name, key)))
    attempts, failure = _remembered(memory)
    if job is None or "deletionTimestamp" in job["metadata"]:
        wish = JobWish.NONE if job is not None or known else JobWish.MAKE
        state = ModelState(known, failure, "the Job that looks at the model is being made", None, wish, attempts + 1)
    else:
        attempt = _number(job, ATTEMPT_ANNOTATION, attempts + 1)
        state = ModelState(known, failure, job=JobWish.KEEP, attempt=attempt)
        state = state if known else _of_job(job, _pods_of(observed, job), state, now_s)
    return replace(state, failure=None, waiting="", retry_in_s=None) if state.facts else state


def kept_model_objects(
    observed: Observed, service: InferenceService, revisions: Iterable[Revision], state: ModelState
) -> frozenset[ObjectKey]:
    """Objects of models that are not rendered now and must stay: the Job as it was made, and what the models of other
    revisions left, so that going back to one of them looks at nothing again."""
    name, keys, claims = service.metadata.name, set(), set()
    for revision in revisions:
        if revision.model_key:
            keys.add(revision.model_key)
        for volume in revision.pod_template.get("spec", {}).get("volumes", ()):
            claims.add(volume.get("persistentVolumeClaim", {}).get("claimName"))
    kept = set()
    for key in keys - {model_key(service)}:
        kept |= {
            ObjectKey("batch/v1", "Job", job_name(name, key)),
            ObjectKey("v1", "ConfigMap", job_name(name, key)),
            ObjectKey("v1", "ConfigMap", source_name(name, key)),
        }
    if state.job is JobWish.KEEP:
        kept.add(ObjectKey("batch/v1", "Job", job_name(name, model_key(service))))
    if made_claim_name(name) in claims:
        kept.add(ObjectKey("v1", "PersistentVolumeClaim", made_claim_name(name)))
    return frozenset(kept & observed.children.keys())


def _of_job(job: KubernetesObject, pods: tuple[KubernetesObject, ...], state: ModelState, now_s: float) -> ModelState:
    """The state while the facts are no ConfigMap yet."""
    report = report_of(pods)
    if report is not None and report.facts is not None:
        return replace(state, facts=report.facts)
    ended_s = _ended_at_s(job)
    if ended_s is None:
        return replace(state, waiting=obstacle(pods) or "the model is being looked at")
    failure = (report and report.failure) or ended_without_report(job, pods)
    due_s = ended_s + _delay_s(failure.reason, state.attempt)
    if now_s >= due_s:
        return replace(
            state, failure=failure, waiting="trying again", job=JobWish.NONE, attempt=state.attempt + 1, retry_in_s=None
        )
    return replace(state, failure=failure, waiting="waiting before it is tried again", retry_in_s=due_s - now_s)


def _delay_s(reason: FailureReason, attempt: int) -> float:
    """From the end of an attempt to the next one."""
    first_s, slowest_s = (
        (_FIRST_REFETCH_S, _SLOWEST_REFETCH_S) if reason in _COSTS_A_FETCH else (_FIRST_RETRY_S, _SLOWEST_RETRY_S)
    )
    return float(min(first_s * 2 ** min(attempt - 1, 16), slowest_s))


def _own(observed: Observed, service: InferenceService, key: ObjectKey) -> KubernetesObject | None:
    """The object, if it is this service's own: one of a deleted service of the same name says nothing."""
    child = observed.children.get(key)
    owners = child["metadata"].get("ownerReferences", ()) if child else ()
    return child if any(owner.get("uid") == service.metadata.uid for owner in owners) else None


def _facts(config_map: KubernetesObject | None) -> ModelFacts | None:
    try:
        return ModelFacts.model_validate_json(config_map["data"][FACTS_FILE]) if config_map else None
    except (KeyError, ValidationError):
        return None  # spoilt, or of a release that knew less: looked at again


def _remembered(config_map: KubernetesObject | None) -> tuple[int, ModelFailure | None]:
    """How many attempts failed, and the latest failure."""
    if config_map is None:
        return 0, None
    text = config_map["metadata"].get("annotations", {}).get(LAST_FAILURE_ANNOTATION, "")
    try:
        failure = ModelFailure.model_validate_json(text) if text else None
    except ValidationError:
        failure = None
    return _number(config_map, FAILED_ATTEMPTS_ANNOTATION, 0), failure


def _number(obj: KubernetesObject, annotation: str, default: int) -> int:
    text = obj["metadata"].get("annotations", {}).get(annotation, "")
    return int(text) if text.isdecimal() and len(text) < 10 else default


def _pods_of(observed: Observed, job: KubernetesObject) -> tuple[KubernetesObject, ...]:
    uid = job["metadata"].get("uid")
    return tuple(
        pod
        for pod in observed.pods
        if any(owner.get("uid") == uid for owner in pod["metadata"].get("ownerReferences", ()))
    )


def _ended_at_s(job: KubernetesObject) -> float | None:
    """When the Job completed or failed; None: it runs."""
    for condition in job.get("status", {}).get("conditions", ()):
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return datetime.datetime.fromisoformat(condition["lastTransitionTime"]).timestamp()
    return None
