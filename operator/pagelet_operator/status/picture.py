"""Everything that the conditions are read from, counted once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pagelet_api import names

from pagelet_operator.acceptance import Refusal
from pagelet_operator.diagnosis import Diagnosis
from pagelet_operator.model_state import ModelState
from pagelet_operator.observed import Observed
from pagelet_operator.pod_state import is_active, is_ready, label, of_component
from pagelet_operator.rollout import RolloutStep

_LONGEST_MESSAGE = 32768


@dataclass(frozen=True, slots=True)
class RevisionEngines:
    """The engines of one revision."""

    hash: str
    wanted: int | None
    """As its ReplicaSet says; None: there is none."""
    pods: int
    """Pods that exist and stay."""
    ready: int
    is_target: bool


@dataclass(frozen=True, slots=True)
class Picture:
    name: str
    before: Mapping[str, Any]
    """The status as it was."""
    suspended: bool
    wanted: int
    """Engines that should serve."""
    engines: tuple[RevisionEngines, ...]
    """By revision, oldest first."""
    target_hash: str
    ready_gateways: int
    wanted_gateways: int | None
    gateway_diagnosis: Diagnosis | None
    diagnoses: Mapping[str, Diagnosis]
    refusal: Refusal | None
    model: ModelState | None
    step: RolloutStep | None
    conflicts: tuple[str, ...]
    apply_errors: tuple[str, ...]

    @property
    def ready(self) -> int:
        return sum(engine.ready for engine in self.engines)

    @property
    def diagnosis(self) -> Diagnosis | None:
        """The worst that is known of engines that should be there: the target's before that of newer before older."""
        candidates = [engine.hash for engine in reversed(self.engines) if engine.wanted or engine.pods]
        if self.target_hash in candidates:
            candidates.insert(0, self.target_hash)
        return next((self.diagnoses[hash_] for hash_ in candidates if hash_ in self.diagnoses), None)


def engines_by_revision(observed: Observed, target_hash: str) -> tuple[RevisionEngines, ...]:
    """Every revision that has a ReplicaSet or a pod, or is the target; oldest first, as their ReplicaSets are."""
    born, wanted = {}, {}
    for replica_set in observed.of_kind("ReplicaSet"):
        if revision := label(replica_set, names.LABEL_REVISION):
            born[revision] = replica_set["metadata"].get("creationTimestamp", "")
            wanted[revision] = int(replica_set.get("spec", {}).get("replicas", 1))
    pods = list(of_component(observed.pods, names.COMPONENT_ENGINE))
    known = {*born, *(label(pod, names.LABEL_REVISION) for pod in pods), target_hash} - {""}
    # Without a ReplicaSet: the target is not there yet, any other not any more.
    order = sorted(known, key=lambda hash_: (born.get(hash_, "9" if hash_ == target_hash else ""), hash_))
    return tuple(
        RevisionEngines(
            hash_,
            wanted.get(hash_),
            sum(is_active(pod) for pod in pods if label(pod, names.LABEL_REVISION) == hash_),
            sum(is_ready(pod) for pod in pods if label(pod, names.LABEL_REVISION) == hash_),
            hash_ == target_hash,
        )
        for hash_ in order
    )


def ready_gateways(observed: Observed) -> int:
    return sum(is_ready(pod) for pod in of_component(observed.pods, names.COMPONENT_GATEWAY))


def clipped(message: str) -> str:
    """A condition's message, no longer than the API server takes."""
    return message if len(message) <= _LONGEST_MESSAGE else f"{message[: _LONGEST_MESSAGE - 1]}…"
