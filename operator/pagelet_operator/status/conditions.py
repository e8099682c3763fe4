"""The five conditions: for each its status, one word for programs, one sentence for people.

Sentences name no moment and count nothing that flickers: each change of one is a write to the API server.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from pagelet_api.v1alpha1 import ConditionStatus, ConditionType

from pagelet_operator.rollout import RolloutPhase
from pagelet_operator.status.picture import Picture

_TRUE, _FALSE, _UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN
_COMPLETE, _ENGINES_MISSING = "Complete", "EnginesMissing"


@dataclass(frozen=True, slots=True)
class Aspect:
    """A condition without its times."""

    type: ConditionType
    status: ConditionStatus
    reason: str
    message: str


def conditions(picture: Picture) -> tuple[Aspect, ...]:
    """One of each type, always in this order."""
    return (
        _accepted(picture),
        _model_ready(picture),
        _progressing(picture),
        _available(picture),
        _degraded(picture),
    )


def _accepted(picture: Picture) -> Aspect:
    if picture.refusal:
        return Aspect(ConditionType.ACCEPTED, _FALSE, picture.refusal.reason, picture.refusal.message)
    return Aspect(ConditionType.ACCEPTED, _TRUE, "Accepted", "the spec can be served")


def _model_ready(picture: Picture) -> Aspect:
    def aspect(status: ConditionStatus, reason: str, message: str) -> Aspect:
        return Aspect(ConditionType.MODEL_READY, status, reason, message)

    model = picture.model
    if model and model.facts:
        digest = model.facts.digest or "its digest is computed by the engines"
        return aspect(_TRUE, "Verified", f"{model.facts.shape.architecture}, {digest}")
    if model and model.failure:
        return aspect(_FALSE, str(model.failure.reason), f"{model.failure.message}; it is tried again by itself")
    if picture.refusal or model is None:
        return aspect(_UNKNOWN, "NotAccepted", "the model is looked at once the spec is accepted")
    return aspect(_UNKNOWN, "Fetching", model.waiting or "the model is looked at")


def _progressing(picture: Picture) -> Aspect:
    def aspect(status: ConditionStatus, reason: str, message: str) -> Aspect:
        return Aspect(ConditionType.PROGRESSING, status, reason, message)

    step, model = picture.step, picture.model
    if picture.refusal or step is None:
        return aspect(_FALSE, "Held", "nothing is changed until the spec is accepted")
    match step.phase:
        case RolloutPhase.ROLLING:
            return aspect(_TRUE, "RollingOut", step.message)
        case RolloutPhase.WAITING_FOR_DEVICE:
            found = picture.diagnoses.get(picture.target_hash)
            return aspect(_TRUE, "WaitingForDevice", f"{step.message} {found.message}" if found else step.message)
        case RolloutPhase.FAILED:
            found = picture.diagnoses.get(picture.target_hash)
            return aspect(_FALSE, found.reason if found else "Failed", step.message)
        case RolloutPhase.DONE:
            return aspect(_FALSE, _COMPLETE, step.message)
        case RolloutPhase.HELD:
            if model and model.failure:
                return aspect(_FALSE, "Held", "engines are started once the model is there; see ModelReady")
            if model and not model.facts:
                return aspect(_TRUE, "WaitingForModel", "engines are started once the model is there")
            return aspect(_FALSE, "Held", step.message)


def _available(picture: Picture) -> Aspect:
    def missing(reason: str, message: str) -> Aspect:
        return Aspect(ConditionType.AVAILABLE, _FALSE, reason, message)

    if picture.ready and picture.ready_gateways:
        return Aspect(ConditionType.AVAILABLE, _TRUE, "Serving", "requests are answered")
    if picture.ready:
        found = picture.gateway_diagnosis
        return missing("GatewayNotReady", found.message if found else "engines are ready, and no gateway is yet")
    if picture.suspended:
        return missing("Suspended", "spec.suspend is true: there are no engines")
    if picture.refusal and not picture.wanted:
        return missing("NotAccepted", picture.refusal.message)
    if not picture.wanted:
        return missing("ScaledToZero", "spec.replicas is 0: there are no engines")
    if found := picture.diagnosis:
        return missing(found.reason, found.message)
    model = picture.model
    if model and model.failure and not model.facts:
        return missing("ModelNotReady", model.failure.message)
    if model and not model.facts and not any(engine.pods for engine in picture.engines):
        return missing("WaitingForModel", "engines are started once the model is there")
    return missing("EnginesNotReady", "no engine is ready yet")


def _degraded(picture: Picture) -> Aspect:
    def degraded(reason: str, message: str) -> Aspect:
        return Aspect(ConditionType.DEGRADED, _TRUE, reason, message)

    if picture.apply_errors:
        return degraded("ApplyFailed", _joined(picture.apply_errors))
    if picture.conflicts:
        return degraded("Conflict", _joined(picture.conflicts))
    found, is_short = picture.diagnosis, picture.ready < picture.wanted
    has_failed = picture.step is not None and picture.step.phase is RolloutPhase.FAILED
    if found and (is_short or has_failed):
        return degraded(found.reason, found.message)
    if is_short and _was_complete(picture):
        return degraded(_ENGINES_MISSING, f"{picture.ready} of {picture.wanted} engines are ready")
    gateway_short = picture.wanted_gateways is not None and picture.ready_gateways < picture.wanted_gateways
    if gateway_short and picture.gateway_diagnosis:
        return degraded("GatewayNotReady", picture.gateway_diagnosis.message)
    return Aspect(ConditionType.DEGRADED, _FALSE, "AsWanted", "what was asked for runs, or is on its way")


def _was_complete(picture: Picture) -> bool:
    """Whether the same engines were all there before: then one was lost, and this is no start and no rollout."""
    before = picture.before
    same = before.get("updatedRevision") == f"{picture.name}-{picture.target_hash}"
    same = same and str(before.get("ready", "")).endswith(f"/{picture.wanted}")
    told = {condition["type"]: condition.get("reason") for condition in before.get("conditions") or ()}
    was_complete = told.get(ConditionType.PROGRESSING) == _COMPLETE
    return same and (was_complete or told.get(ConditionType.DEGRADED) == _ENGINES_MISSING)


def _joined(sentences: Iterable[str]) -> str:
    return "; ".join(sentence.rstrip(".") for sentence in sentences)
