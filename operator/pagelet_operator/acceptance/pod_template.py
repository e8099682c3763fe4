"""What of a pod is ours: a podTemplate that names it would be ignored, and nothing is ignored in silence."""

from collections.abc import Iterator, Mapping
from typing import Any

from pagelet_api.model_report import ModelFacts
from pagelet_api.v1alpha1 import InferenceService, PodTemplate

from pagelet_operator.acceptance.rule import Numbers, Rule
from pagelet_operator.desired.additions import ENGINE_CONTAINER, OUR_FIELDS, OUR_VARIABLES

OUR_VOLUMES = frozenset({"model", "config", "scratch", "shm", "credentials"})
OUR_INIT_CONTAINERS = frozenset({ENGINE_CONTAINER, "fetch"})

# Those of the restricted Pod Security Standard: https://kubernetes.io/docs/concepts/security/pod-security-standards/
_SAFE_VOLUMES = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
)


def _our_variable(service: InferenceService, model: ModelFacts | None) -> Numbers | None:
    template = service.spec.pod_template
    lists = [template.env, *(given.get("env") for given in _engine(template))]
    # What is no list of variables is Kubernetes' to refuse.
    variables = [variable for given in lists if isinstance(given, list | tuple) for variable in given]
    for variable in variables:
        name = variable.get("name") if isinstance(variable, Mapping) else None
        if isinstance(name, str) and name.startswith(OUR_VARIABLES):
            return {"name": name}
    return None


def _our_field(service: InferenceService, model: ModelFacts | None) -> Numbers | None:
    for given in _engine(service.spec.pod_template):
        if found := sorted(OUR_FIELDS & given.keys() - {"name"}):
            return {"fields": ", ".join(found)}
    return None


def _our_name(service: InferenceService, model: ModelFacts | None) -> Numbers | None:
    template = service.spec.pod_template
    for field, entries, ours in (
        ("volumes", template.volumes, OUR_VOLUMES),
        ("initContainers", template.init_containers, OUR_INIT_CONTAINERS),
        ("containers", template.containers, OUR_INIT_CONTAINERS - {ENGINE_CONTAINER}),
    ):
        for entry in entries:
            if entry["name"] in ours:
                return {"field": field, "name": entry["name"]}
    return None


def _unsafe_volume(service: InferenceService, model: ModelFacts | None) -> Numbers | None:
    for volume in service.spec.pod_template.volumes:
        if found := sorted(volume.keys() - {"name"} - _SAFE_VOLUMES):
            return {"name": volume["name"], "kind": ", ".join(found)}
    return None


def _reaches_the_node(service: InferenceService, model: ModelFacts | None) -> Numbers | None:
    template = service.spec.pod_template
    for container in (*template.init_containers, *template.containers):
        if field := next(_fields_of_the_node(container), ""):
            return {"name": container["name"], "field": field}
    return None


def _fields_of_the_node(container: Mapping[str, Any]) -> Iterator[str]:
    """Fields that concern the node and not the pod."""
    ports = container.get("ports")
    for port in ports if isinstance(ports, list) else ():
        if isinstance(port, Mapping) and port.get("hostPort"):
            yield "hostPort"
    lifecycle = container.get("lifecycle")
    handlers = [container.get(probe) for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    for handler in (*handlers, *(lifecycle.values() if isinstance(lifecycle, Mapping) else ())):
        for kind in ("httpGet", "tcpSocket"):
            action = handler.get(kind) if isinstance(handler, Mapping) else None
            if isinstance(action, Mapping) and action.get("host"):
                yield f"{kind}.host"


def _engine(template: PodTemplate) -> Iterator[Mapping[str, Any]]:
    """What the user adds to the engine's own container."""
    return (entry for entry in template.containers if entry["name"] == ENGINE_CONTAINER)


POD_TEMPLATE_RULES: tuple[Rule, ...] = (
    Rule(
        "ReservedVariable",
        "spec.podTemplate.env",
        f"spec.podTemplate: the variable {{name}} is ours, as are all that begin with {OUR_VARIABLES}; remove it",
        _our_variable,
    ),
    Rule(
        "ReservedField",
        "spec.podTemplate.containers",
        "spec.podTemplate.containers: of the container engine, these are rendered from spec.engine and spec.resources: "
        "{fields}; set them there, and remove them here",
        _our_field,
    ),
    Rule(
        "ReservedName",
        "spec.podTemplate",
        "spec.podTemplate.{field}: the name {name} is one of ours; choose another",
        _our_name,
    ),
    Rule(
        "UnsafeVolume",
        "spec.podTemplate.volumes",
        "spec.podTemplate.volumes: {name} is a {kind}, which the restricted Pod Security Standard does not allow; "
        "use a persistentVolumeClaim",
        _unsafe_volume,
    ),
    Rule(
        "ReachesTheNode",
        "spec.podTemplate",
        "spec.podTemplate: the container {name} gives {field}, which reaches past its pod, and the restricted Pod "
        "Security Standard does not allow it; remove it",
        _reaches_the_node,
    ),
)
