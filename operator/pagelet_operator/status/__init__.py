"""The status of one InferenceService: what is, from observation alone.

Owns the words of the conditions. The same observation gives the same status, byte for byte, and a status that was
written and observed gives itself again, so that nothing is written in a steady state. Decides nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pagelet_api import names, sizes
from pagelet_api.memory_plan import DoesNotFitError, MemoryPlan
from pagelet_api.sizes import ModelConfigError, ModelShape
from pagelet_api.v1alpha1 import (
    CapacityStatus,
    Condition,
    EngineSpec,
    InferenceService,
    InferenceServiceStatus,
    ModelStatus,
    RevisionStatus,
)

from pagelet_operator.acceptance import Refusal
from pagelet_operator.desired import Facts
from pagelet_operator.diagnosis import Diagnosis, diagnose_gateway
from pagelet_operator.model_state import ModelState
from pagelet_operator.observed import Observed
from pagelet_operator.replica_memory import replica_plan
from pagelet_operator.rollout import RolloutStep
from pagelet_operator.status.conditions import conditions
from pagelet_operator.status.picture import Picture, RevisionEngines, clipped, engines_by_revision, ready_gateways

__all__ = ["compute_status"]

_MOST_REVISIONS = 16


def compute_status(
    observed: Observed,
    service: InferenceService | None,
    *,
    refusal: Refusal | None,
    model_state: ModelState | None,
    step: RolloutStep | None,
    target_hash: str,
    diagnoses: Mapping[str, Diagnosis],
    plan_conflicts: Sequence[str],
    apply_errors: Sequence[str],
    facts: Facts,
    now: str,
    replicas: int | None = None,
) -> dict[str, Any]:
    """The whole status, in the API's form.

    `service` is None where it cannot be read; `diagnoses` are of revisions, by hash; `now` is RFC 3339 in UTC;
    `replicas` are the engines wanted, suspension aside, where that is not what the spec says.
    """
    metadata, before = observed.service["metadata"], observed.service.get("status") or {}
    name, generation = metadata["name"], int(metadata.get("generation", 0))
    engines = engines_by_revision(observed, target_hash)
    picture = Picture(
        name=name,
        before=before,
        suspended=bool(observed.service.get("spec", {}).get("suspend", False)),
        wanted=_wanted(observed, refusal, engines, replicas),
        engines=engines,
        target_hash=target_hash,
        ready_gateways=ready_gateways(observed),
        wanted_gateways=service.spec.gateway.replicas if service else None,
        gateway_diagnosis=diagnose_gateway(observed, datetime.fromisoformat(now).timestamp()),
        diagnoses=diagnoses,
        refusal=refusal,
        model=model_state,
        step=step,
        conflicts=tuple(plan_conflicts),
        apply_errors=tuple(apply_errors),
    )
    transitions = {condition["type"]: condition for condition in before.get("conditions") or ()}
    serving = max(engines, key=lambda engine: engine.ready, default=None)  # of equals, the oldest
    status = InferenceServiceStatus(
        observed_generation=generation,
        conditions=tuple(
            Condition(
                type=aspect.type,
                status=aspect.status,
                reason=aspect.reason,
                message=clipped(aspect.message),
                last_transition_time=_since(transitions.get(aspect.type), aspect.status, now),
                observed_generation=generation,
            )
            for aspect in conditions(picture)
        ),
        replicas=sum(engine.pods for engine in engines),
        ready_replicas=picture.ready,
        ready=f"{picture.ready}/{picture.wanted}",
        selector=f"{names.LABEL_COMPONENT}={names.COMPONENT_ENGINE},{names.LABEL_SERVICE}={name}",
        url=f"http://{name}.{metadata.get('namespace', 'default')}.svc:{facts.http_port}",
        current_revision=f"{name}-{serving.hash}" if serving and serving.ready else None,
        updated_revision=f"{name}-{target_hash}" if target_hash else None,
        revisions=tuple(_revisions(name, engines, diagnoses)),
    ).model_dump(mode="json", by_alias=True, exclude_none=True)
    return status | _model(service, facts, before)


def _wanted(
    observed: Observed, refusal: Refusal | None, engines: Iterable[RevisionEngines], replicas: int | None
) -> int:
    """How many engines should serve. A refused spec asks for nothing: what runs is to run on."""
    running = [engine.wanted for engine in engines if engine.wanted is not None]
    if refusal is not None:
        return sum(running)
    if observed.service.get("spec", {}).get("suspend"):
        return 0
    if replicas is not None:
        return replicas
    if running and not observed.replicas_owned:
        return sum(running)
    return int(observed.service.get("spec", {}).get("replicas", 1))


def _since(before: Mapping[str, Any] | None, status: str, now: str) -> str:
    if before and before.get("status") == status and before.get("lastTransitionTime"):
        return str(before["lastTransitionTime"])
    return now


def _revisions(
    name: str, engines: Sequence[RevisionEngines], diagnoses: Mapping[str, Diagnosis]
) -> Iterable[RevisionStatus]:
    there = [engine for engine in engines if engine.wanted or engine.pods or engine.is_target]
    for engine in there[-_MOST_REVISIONS:]:
        found = diagnoses.get(engine.hash)
        yield RevisionStatus(
            name=f"{name}-{engine.hash}",
            replicas=engine.wanted or 0,
            ready=engine.ready,
            reason=found.reason if found else "",
        )


def _model(service: InferenceService | None, facts: Facts, before: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of the model, and what one replica holds of it. What cannot be read now is left as it was."""
    if service is None:
        return {field: before[field] for field in ("model", "capacity") if field in before}
    if facts.model is None:
        return {}
    shape, engine = facts.model.shape, service.spec.engine
    plan, weight_bytes = _plan(service, facts), _weight_bytes(engine, shape)
    model = ModelStatus(
        digest=facts.model.digest,
        architecture=shape.architecture,
        parameters=sizes.parameter_count(shape),
        weight_bytes=weight_bytes or 0,
        max_model_len=plan.max_model_len if plan else engine.max_model_len or shape.max_position,
    )
    unknown = {"weight_bytes"} if weight_bytes is None else None
    fields = {"model": model.model_dump(mode="json", by_alias=True, exclude=unknown)}
    if plan:
        capacity = CapacityStatus(
            block_size=plan.block_size, blocks_planned=plan.num_blocks, tokens_per_replica=plan.tokens
        )
        # What the engine measures is not known here, and 0 would be a measurement.
        fields["capacity"] = capacity.model_dump(mode="json", by_alias=True, exclude={"blocks_measured"})
    return fields


def _weight_bytes(engine: EngineSpec, shape: ModelShape) -> int | None:
    try:
        return sizes.weight_bytes(shape, sizes.resolve_dtype(engine.dtype, shape), engine.quantization)
    except ModelConfigError:
        return None  # refused: it cannot be held so


def _plan(service: InferenceService, facts: Facts) -> MemoryPlan | None:
    try:
        return replica_plan(service.spec, facts.model.shape) if facts.model else None
    except (DoesNotFitError, ModelConfigError):
        return None  # refused, with the sum
