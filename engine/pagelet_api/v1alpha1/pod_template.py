"""`spec.podTemplate`: the part of a pod's template that users may add to, in Kubernetes' own words.

What these parts hold is Kubernetes' to judge: it is handed on as it is, and the API server's own sentence about it
becomes a condition. What is not in this list (service account, host namespaces, security context) stays ours.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, WithJsonSchema

from pagelet_api.v1alpha1.part import Part

_OPAQUE = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_NAMED = {
    **_OPAQUE,
    "required": ["name"],
    "properties": {"name": {"description": "Its name.", "type": "string", "minLength": 1, "maxLength": 253}},
}


def _by_name(value: dict[str, Any]) -> dict[str, Any]:
    name = value.get("name")
    if not isinstance(name, str) or not 1 <= len(name) <= 253:
        raise ValueError(f"wanted an entry with a name, found {str(value)!r:.60}")
    return value


Opaque = Annotated[dict[str, Any], WithJsonSchema(_OPAQUE)]
Named = Annotated[dict[str, Any], AfterValidator(_by_name), WithJsonSchema(_NAMED)]
MAX_ENTRIES = 32
_AS_MAP = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
NamedList = Annotated[tuple[Named, ...], Field(max_length=MAX_ENTRIES, json_schema_extra=_AS_MAP)]
OpaqueList = Annotated[tuple[Opaque, ...], Field(max_length=MAX_ENTRIES)]
LabelKey = Annotated[str, Field(min_length=1, max_length=317)]
Labels = Annotated[dict[LabelKey, Annotated[str, Field(max_length=63)]], Field(max_length=MAX_ENTRIES)]
Annotations = Annotated[dict[LabelKey, Annotated[str, Field(max_length=4096)]], Field(max_length=MAX_ENTRIES)]


class PodTemplate(Part):
    """What the engine pods have besides. Lists are merged by name; imagePullSecrets hold for all pods."""

    labels: Labels = Field(default_factory=dict)
    """Labels of the pods; ours win."""
    annotations: Annotations = Field(default_factory=dict)
    """Annotations of the pods; ours win."""
    env: NamedList = ()
    """Environment variables of the engine's container; those that begin with PAGELET_ are ours."""
    volumes: NamedList = ()
    """Volumes of the pods."""
    volume_mounts: OpaqueList = ()
    """Mounts of the engine's container."""
    init_containers: NamedList = ()
    """Containers that run before the engine's, or beside it with restartPolicy Always."""
    containers: NamedList = ()
    """Sidecars. One that is named engine is merged into the engine's container."""
    affinity: Opaque | None = None
    """Affinity of the pods; accelerator.product adds to it."""
    tolerations: OpaqueList = ()
    """Taints that the pods tolerate."""
    node_selector: Labels = Field(default_factory=dict)
    """Labels that a node must have."""
    topology_spread_constraints: OpaqueList = ()
    """How the pods spread over the cluster."""
    priority_class_name: Annotated[str, Field(max_length=253)] = ""
    """Priority class of the pods."""
    runtime_class_name: Annotated[str, Field(max_length=253)] = ""
    """Runtime class of the pods, such as nvidia."""
    image_pull_secrets: NamedList = ()
    """Secrets to pull images with; also those of the gateway and of the model Job."""
