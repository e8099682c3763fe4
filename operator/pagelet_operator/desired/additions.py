"""What the user's `podTemplate` adds to the engine pods: merged by name, and locked down as our own containers are.

Two entries of one name are handed on as they are, where ours must not be replaced: the API server refuses them, in
words that reach the status; nothing is left out in silence.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pagelet_api.v1alpha1 import PodTemplate

from pagelet_operator.desired.metadata import KubernetesObject
from pagelet_operator.desired.placement import SHM_MOUNT
from pagelet_operator.desired.pods import SCRATCH_MOUNT, restricted

ENGINE_CONTAINER = "engine"
OUR_VARIABLES = "PAGELET_"
"""Variables that begin so are ours."""
OUR_FIELDS = frozenset(
    {
        *("name", "image", "command", "args", "ports", "resources", "securityContext", "lifecycle"),
        *("startupProbe", "readinessProbe", "livenessProbe", "terminationMessagePath", "terminationMessagePolicy"),
        *("stdin", "stdinOnce", "tty", "restartPolicy"),
    }
)
"""Of the engine's container: nothing that a podTemplate says about them is taken over."""
_REPLACEABLE_MOUNTS = frozenset({SCRATCH_MOUNT, SHM_MOUNT})
# What of a sidecar's securityContext is its own affair. The rest is the standard's, or weakens it.
_OWN_AFFAIRS = ("runAsGroup", "readOnlyRootFilesystem")


def with_additions(template: KubernetesObject, additions: PodTemplate) -> KubernetesObject:
    """The rendered engine pod with what the user adds to it."""
    metadata, spec = template["metadata"], template["spec"]
    engine, *others = spec["containers"]
    merged = _engine(engine, additions)
    sidecars = [_sidecar(entry) for entry in additions.containers if entry["name"] != ENGINE_CONTAINER]
    init = [*spec.get("initContainers", ()), *(_sidecar(entry) for entry in additions.init_containers)]
    more = {
        "initContainers": init,
        "nodeSelector": dict(additions.node_selector),
        "topologySpreadConstraints": [dict(constraint) for constraint in additions.topology_spread_constraints],
        "priorityClassName": additions.priority_class_name,
        "runtimeClassName": additions.runtime_class_name,
    }
    return {
        "metadata": {
            "labels": {**additions.labels, **metadata["labels"]},
            "annotations": {**additions.annotations, **metadata.get("annotations", {})},
        },
        "spec": {
            **spec,
            "containers": [merged, *others, *sidecars],
            "volumes": [*spec["volumes"], *(dict(volume) for volume in additions.volumes)],
            **{name: value for name, value in more.items() if value},
        },
    }


def _engine(container: KubernetesObject, additions: PodTemplate) -> KubernetesObject:
    """Our container, with variables and mounts from both places that a user can put them, and any field not ours."""
    given: Mapping[str, Any] = next((e for e in additions.containers if e["name"] == ENGINE_CONTAINER), {})
    return {
        **container,
        **{name: value for name, value in given.items() if name not in OUR_FIELDS},
        "env": _by_name(container["env"], [*_list(given.get("env")), *additions.env]),
        "volumeMounts": _mounts(
            container["volumeMounts"], [*_list(given.get("volumeMounts")), *additions.volume_mounts]
        ),
    }


def _by_name(ours: Sequence[KubernetesObject], theirs: Sequence[Any]) -> list[KubernetesObject]:
    """Theirs in the place of ours where the names are the same, but for the variables that are ours alone."""
    merged = {entry["name"]: entry for entry in ours}
    unnamed = []
    for entry in theirs:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            unnamed.append(entry)
        elif not name.startswith(OUR_VARIABLES):
            merged[name] = dict(entry)
    return [*merged.values(), *unnamed]


def _mounts(ours: Sequence[KubernetesObject], theirs: Sequence[Any]) -> list[Any]:
    """Scratch folders may be theirs; where the model and the configuration are, two mounts are a mistake."""
    taken = {mount.get("mountPath") for mount in theirs if isinstance(mount, dict)} & _REPLACEABLE_MOUNTS
    return [*(mount for mount in ours if mount["mountPath"] not in taken), *theirs]


def _sidecar(container: Mapping[str, Any]) -> KubernetesObject:
    given = container.get("securityContext")
    context = {"readOnlyRootFilesystem": True}
    if isinstance(given, dict):
        context |= {name: given[name] for name in _OWN_AFFAIRS if name in given}
        if given.get("runAsUser"):  # not root
            context["runAsUser"] = given["runAsUser"]
    return {**container, "securityContext": {**context, **restricted()}}


def _list(value: Any) -> list[Any]:
    """Of what is no list, a list that the API server refuses."""
    return list(value) if isinstance(value, list) else [] if value is None else [value]
