"""What to write so that the cluster becomes what should be: objects to apply, objects to delete, and nothing else.

Owns whose object is whose, and when an object must be written. A pure function of what is wanted and what is there,
level-based: it asks never what happened, writes nothing where all is well, and touches nothing that is not this
service's. Refuses to know how objects are written, and what is in them.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pagelet_api import names
from pagelet_api.quantities import parse_quantity

from pagelet_operator.difference import Difference, Path, differences
from pagelet_operator.observed import KubernetesObject, ObjectKey, Observed
from pagelet_operator.revision import content_hash

APPLIED_HASH_ANNOTATION = f"{names.GROUP}/applied-hash"
"""On every object that is applied: the hash of its rendering without this annotation. What is no longer rendered
changes no leaf, but it changes the hash."""

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGER = "pagelet-operator"

RENDERED_KINDS = (
    ("apps/v1", "Deployment"),
    ("apps/v1", "ReplicaSet"),
    ("batch/v1", "Job"),
    ("policy/v1", "PodDisruptionBudget"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("v1", "ServiceAccount"),
    ("v1", "PersistentVolumeClaim"),
)
"""Every kind that a service has children of, in the order in which they are deleted: pods first, walls last."""

_NEVER_DELETED = frozenset({("v1", "PersistentVolumeClaim")})  # a person's gigabytes: the garbage collector's at most

# What the API server refuses to change once it is there.
_IMMUTABLE: Mapping[str, tuple[Path, ...]] = {
    "Deployment": (("spec", "selector"),),
    "ReplicaSet": (("spec", "selector"),),
    "Job": tuple(
        ("spec", field) for field in ("template", "selector", "completions", "completionMode", "podFailurePolicy")
    ),
    "Service": (("spec", "clusterIP"),),
    "PersistentVolumeClaim": (
        ("spec", "accessModes"),
        ("spec", "storageClassName"),
        ("spec", "volumeName"),
        ("spec", "volumeMode"),
        ("spec", "selector"),
    ),
}
_CLAIM_SIZE: Path = ("spec", "resources", "requests", "storage")  # may grow, and never shrinks
_IMMUTABLE_CONFIG_MAP: tuple[Path, ...] = (("data",), ("binaryData",))
# Nothing is lost when these are made anew: what they hold is rendered, what they do is repeated.
_MADE_ANEW = frozenset({"Job", "ConfigMap"})


@dataclass(frozen=True, slots=True)
class Plan:
    apply: tuple[KubernetesObject, ...] = ()
    """To be applied, in this order; each complete, with its annotation."""
    delete: tuple[ObjectKey, ...] = ()
    """To be deleted, in this order, after what is applied."""
    conflicts: tuple[str, ...] = ()
    """What stands in the way and is left alone, one sentence each."""
    missing: tuple[ObjectKey, ...] = ()
    """Of `apply`, what was not observed at all: a writer looks again before the first write, because an object of that
    name without our labels is in nobody's cache."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self.apply and not self.delete


def make_plan(desired: Sequence[KubernetesObject], observed: Observed, keep: Collection[ObjectKey] = ()) -> Plan:
    """Compare what should exist with what does. `keep` names objects that are not deleted although nobody wants them.

    An immutable object that has to change is deleted first, and applied by the plan that finds it gone.
    """
    wanted = {ObjectKey.of(obj): obj for obj in desired}
    assert len(wanted) == len(desired), "an object is rendered twice"
    apply, missing, replace, conflicts = [], [], [], []
    for key, obj in wanted.items():
        live = observed.children.get(key)
        if live is None:
            apply.append(_annotated(obj))
            missing.append(key)
        elif _is_leaving(live):
            continue  # whosever it is: written once it is gone
        elif owner := _other_owner(obj, live, observed.service):
            conflicts.append(f"{key}: exists already and is {owner}; delete or rename it, or rename this service")
        elif found := list(_immutable_differences(obj, live)):
            if key.kind in _MADE_ANEW and _may_be_deleted(key, live, observed.service):
                replace.append(key)
            else:
                conflicts.append(f"{key}: {found[0]}, which cannot be changed; delete it, and it is made anew")
        elif _must_be_applied(obj, live):
            apply.append(_annotated(obj))
    unwanted = [
        key
        for key, live in observed.children.items()
        if key not in wanted and key not in keep and _may_be_deleted(key, live, observed.service)
    ]
    delete = sorted([*replace, *unwanted], key=_deletion_order)
    return Plan(tuple(apply), tuple(delete), tuple(conflicts), tuple(missing))


def applied_hash(obj: KubernetesObject) -> str:
    """Names the rendering of `obj`, its own annotation aside."""
    annotations = obj["metadata"].get("annotations", {})
    if APPLIED_HASH_ANNOTATION in annotations:
        rest = {name: value for name, value in annotations.items() if name != APPLIED_HASH_ANNOTATION}
        obj = {**obj, "metadata": {**obj["metadata"], "annotations": rest}}
    return content_hash(json.dumps(obj, sort_keys=True, separators=(",", ":")))


def _annotated(obj: KubernetesObject) -> KubernetesObject:
    annotations = {**obj["metadata"].get("annotations", {}), APPLIED_HASH_ANNOTATION: applied_hash(obj)}
    return {**obj, "metadata": {**obj["metadata"], "annotations": annotations}}


def _must_be_applied(obj: KubernetesObject, live: KubernetesObject) -> bool:
    return next(differences(_annotated(obj), live), None) is not None


def _immutable_differences(obj: KubernetesObject, live: KubernetesObject) -> Iterator[Difference]:
    places = _IMMUTABLE.get(obj["kind"], ())
    if obj["kind"] == "ConfigMap" and live.get("immutable"):
        places = _IMMUTABLE_CONFIG_MAP
    for found in differences(obj, live):
        if any(found.path[: len(place)] == place for place in places) or _shrinks_claim(obj, found):
            yield found


def _shrinks_claim(obj: KubernetesObject, found: Difference) -> bool:
    if obj["kind"] != "PersistentVolumeClaim" or found.path != _CLAIM_SIZE or found.found is None:
        return False
    return parse_quantity(str(found.wanted)) < parse_quantity(str(found.found))


def _other_owner(obj: KubernetesObject, live: KubernetesObject, service: KubernetesObject) -> str:
    """In words, whose `live` is, if it is not this service's; empty if it is.

    Ours is what this service controls. What nobody controls is ours too, if this operator wrote it for a service of
    this name: a claim that was made to outlive its service, or children that were orphaned on purpose.
    """
    if controller := _controller(live):
        if controller.get("uid") == service["metadata"].get("uid"):
            return ""
        return f"controlled by {controller.get('kind')}/{controller.get('name')} (uid {controller.get('uid')})"
    metadata = live["metadata"]
    labels, rendered = metadata.get("labels") or {}, obj["metadata"].get("labels", {})
    marks = (MANAGED_BY_LABEL, names.LABEL_SERVICE)
    written_by_us = APPLIED_HASH_ANNOTATION in (metadata.get("annotations") or {})
    if written_by_us and all(mark in rendered and labels.get(mark) == rendered[mark] for mark in marks):
        return ""
    return "not one that this operator made"


def _may_be_deleted(key: ObjectKey, live: KubernetesObject, service: KubernetesObject) -> bool:
    kind = (key.api_version, key.kind)
    if kind not in RENDERED_KINDS or kind in _NEVER_DELETED or _is_leaving(live):
        return False
    controller, uid = _controller(live), service["metadata"].get("uid")
    labels = live["metadata"].get("labels") or {}
    return bool(uid) and controller.get("uid") == uid and labels.get(MANAGED_BY_LABEL) == MANAGER


def _controller(live: KubernetesObject) -> Mapping[str, Any]:
    references = live["metadata"].get("ownerReferences") or ()
    return next((reference for reference in references if reference.get("controller")), {})


def _is_leaving(live: KubernetesObject) -> bool:
    return bool(live["metadata"].get("deletionTimestamp"))


def _deletion_order(key: ObjectKey) -> tuple[int, str]:
    return RENDERED_KINDS.index((key.api_version, key.kind)), key.name
