"""From what is there to what is to be done: the whole operator as one pure function.

Owns how the decisions of the other modules fit together, and none of them. The same input gives the same decision.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pagelet_api.v1alpha1 import InferenceService, ManifestError, RolloutSpec, load_inference_service

from pagelet_operator.acceptance import Refusal, refusal
from pagelet_operator.capacity import Capacity, devices, free_devices
from pagelet_operator.census import Census
from pagelet_operator.desired import Facts, desired_children, new_revision
from pagelet_operator.desired.metadata import engine_service_name
from pagelet_operator.desired.model import model_children
from pagelet_operator.diagnosis import Diagnosis, diagnose
from pagelet_operator.engine_count import ENGINE_COUNT_ANNOTATION, EngineCount, Origin, engine_count
from pagelet_operator.model_state import ModelState, kept_model_objects, model_state
from pagelet_operator.observed import KubernetesObject, ObjectKey, Observed
from pagelet_operator.plan import Plan, make_plan
from pagelet_operator.release import Release
from pagelet_operator.revision import Revision, revision_hash
from pagelet_operator.revisions import KnownRevision, known_revisions, revision_pods
from pagelet_operator.rollout import RolloutSettings, RolloutStep, plan_rollout
from pagelet_operator.status import compute_status

REFUSED_BY_SERVER = "RefusedByApiServer"
NOT_UNDERSTOOD = "NotUnderstood"
_LOOK_AT_CONFLICTS_S = 15.0  # objects of others carry no label of ours, so no watch tells when they are gone

Status = Callable[[Sequence[str]], dict[str, Any] | None]
"""From the sentences of what could not be written to the status; None: write none."""


@dataclass(frozen=True, slots=True)
class Decision:
    plan: Plan
    status: Status
    dry_run: tuple[KubernetesObject, ...] = ()
    """To be tried out on the API server before anything is applied. If it refuses one, decide again, with its words."""
    wake_in_s: float | None = None
    """When to decide again though nothing changes."""


def decide(
    observed: Observed, release: Release, census: Census | None, now_s: float, refused_by_server: str = ""
) -> Decision:
    """`now_s` in seconds since the epoch; `refused_by_server`: what the API server said to the dry run."""
    if observed.service["metadata"].get("deletionTimestamp"):
        return Decision(Plan(), lambda _: None)  # the garbage collector's
    try:
        # A status is never input; one of a newer operator may hold what this one cannot read.
        service = load_inference_service({**observed.service, "status": None})
    except ManifestError as error:
        return _refuse(_look(observed, None, release, census, now_s), Refusal(NOT_UNDERSTOOD, str(error)))
    view = _look(observed, service, release, census, now_s)
    if refused_by_server:
        return _refuse(view, Refusal(REFUSED_BY_SERVER, refused_by_server))
    if found := refusal(service, view.model.facts):
        return _refuse(view, found)
    return _accept(view, service)


@dataclass(frozen=True, slots=True)
class _View:
    """One service at one moment, as both answers see it."""

    observed: Observed
    service: InferenceService | None
    model: ModelState
    facts: Facts
    known: tuple[KnownRevision, ...]
    diagnoses: Mapping[str, Diagnosis]
    now_s: float

    def step(self, target: Revision | None, replicas: int, settings: RolloutSettings) -> RolloutStep:
        target_hash = target.hash if target else ""
        # What time may mend holds up no rollout: the planner knows of pods that wait by their own times.
        failing = {name: found.message for name, found in self.diagnoses.items() if found.final}
        pods = revision_pods(self.observed, self.known, target_hash, failing, self.now_s)
        return plan_rollout(pods, target_hash, replicas, settings, self.now_s)

    def status(
        self, found: Refusal | None, step: RolloutStep, target_hash: str, plan: Plan, replicas: int | None = None
    ) -> Status:
        def compute(failures: Sequence[str]) -> dict[str, Any]:
            return compute_status(
                self.observed,
                self.service,
                refusal=found,
                model_state=self.model,
                step=step,
                target_hash=target_hash,
                diagnoses=self.diagnoses,
                plan_conflicts=plan.conflicts,
                apply_errors=failures,
                facts=self.facts,
                now=datetime.fromtimestamp(self.now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                replicas=replicas,
            )

        return compute


def _look(
    observed: Observed, service: InferenceService | None, release: Release, census: Census | None, now_s: float
) -> _View:
    model = model_state(observed, service, now_s) if service else ModelState()
    deadline_s = service.spec.rollout.progress_deadline.seconds if service else None
    known = known_revisions(observed)
    found = {
        each.revision.hash: diagnose(observed, each.revision.hash, _capacity(each.revision, census), deadline_s, now_s)
        for each in known
    }
    diagnoses = {name: diagnosis for name, diagnosis in found.items() if diagnosis}
    return _View(observed, service, model, release.facts(model.facts), known, diagnoses, now_s)


def _refuse(view: _View, found: Refusal) -> Decision:
    """Nothing that runs is changed or deleted, and nothing new comes; but what was found of the model is kept, because
    the rule that is broken may be about it."""
    settings = _settings(view.service.spec.rollout if view.service else RolloutSpec())
    plan = Plan()
    if view.service and view.model.facts:
        known = make_plan(model_children(view.service, view.facts, view.model), view.observed)
        plan = Plan(known.apply, (), known.conflicts, known.missing)
    return Decision(plan, view.status(found, view.step(None, 0, settings), "", plan))


def _accept(view: _View, service: InferenceService) -> Decision:
    wanted = revision_hash(service.spec)
    target = _target(view, service, wanted)
    count = _engine_count(view, service)
    step = view.step(target, 0 if service.spec.suspend else count.number, _settings(service.spec.rollout))
    others = [each for each in view.known if target is None or each.revision.hash != target.hash]
    revisions = [_as_planned(each.revision, step, target) for each in others if not each.finished]
    if target is not None:
        revisions.append(_as_planned(target, step, target))
    children = desired_children(service, revisions, view.facts, model=view.model)
    # What a remnant was configured with is lost: its pods serve on, and nothing pretends to be their configuration.
    lost = {("v1", "ConfigMap", each.revision.name(service.metadata.name)) for each in others if each.is_remnant}
    wanted_children = [child for child in _remembering(children, service, count) if ObjectKey.of(child) not in lost]
    kept = kept_model_objects(view.observed, service, revisions, view.model)
    plan = make_plan(wanted_children, view.observed, kept)
    dry_run = _new_replica_set(plan, service, target) if target and len(others) == len(view.known) else ()
    wishes = [step.wake_in_s, view.model.retry_in_s, _LOOK_AT_CONFLICTS_S if plan.conflicts else None]
    wake_in_s = min((wish for wish in wishes if wish is not None), default=None)
    return Decision(plan, view.status(None, step, wanted, plan, count.number), dry_run, wake_in_s)


def _new_replica_set(plan: Plan, service: InferenceService, target: Revision) -> tuple[KubernetesObject, ...]:
    key = ObjectKey("apps/v1", "ReplicaSet", target.name(service.metadata.name))
    return tuple(obj for obj in plan.apply if ObjectKey.of(obj) == key)


def _target(view: _View, service: InferenceService, wanted: str) -> Revision | None:
    """The revision to run: as it was rendered when it came up, or rendered now; None: its model is not known yet."""
    for each in view.known:
        if each.revision.hash == wanted and not each.is_remnant:
            return each.revision
    if view.model.facts is not None:
        surge_refused = any(each.surge_refused for each in view.known if each.revision.hash == wanted)
        return replace(new_revision(service, view.facts, 0), surge_refused=surge_refused)
    if service.spec.suspend and view.known:
        return view.known[-1].revision  # whatever runs is to stop, and need not wait for what comes next
    return None


def _engine_count(view: _View, service: InferenceService) -> EngineCount:
    """Engines wanted, suspension aside."""
    engines = view.observed.children.get(ObjectKey("v1", "Service", engine_service_name(service)))
    remembered = (engines["metadata"].get("annotations") or {}).get(ENGINE_COUNT_ANNOTATION, "") if engines else ""
    before = EngineCount.parse(remembered)
    running = sum(each.revision.replicas for each in view.known)
    if before is None and running not in (0, service.spec.replicas):
        before = EngineCount(running, Origin.KEPT)  # the memory was lost with its Service; what runs is the next best
    return engine_count(service.spec.replicas, view.observed.replicas_owned, before)


def _remembering(
    children: Sequence[KubernetesObject], service: InferenceService, count: EngineCount
) -> list[KubernetesObject]:
    """The children; the engines' Service carries the count, because ReplicaSets do not show it during a rollout."""
    remembering = []
    for child in children:
        if ObjectKey.of(child) == ("v1", "Service", engine_service_name(service)):
            annotations = {**child["metadata"].get("annotations", {}), ENGINE_COUNT_ANNOTATION: str(count)}
            child = {**child, "metadata": {**child["metadata"], "annotations": annotations}}
        remembering.append(child)
    return remembering


def _as_planned(revision: Revision, step: RolloutStep, target: Revision | None) -> Revision:
    refused = step.refuse_surge and target is not None and revision.hash == target.hash
    return replace(revision, replicas=step.replicas[revision.hash], surge_refused=revision.surge_refused or refused)


def _settings(spec: RolloutSpec) -> RolloutSettings:
    return RolloutSettings(spec.strategy, spec.surge_timeout.seconds, spec.max_unavailable, spec.allow_downtime)


def _capacity(revision: Revision, census: Census | None) -> Capacity | None:
    """What the revision's pods could be given of the device that they ask for."""
    spec = revision.pod_template.get("spec", {})
    wanted = next(iter(devices(spec)), None)
    return free_devices(census.nodes, census.pods, wanted, spec) if census and wanted else None
