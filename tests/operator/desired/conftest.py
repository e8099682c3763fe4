"""Everything rendered from a service whose model is known, and how to find a part of it."""

from typing import Any

from pagelet_api import names
from pagelet_api.v1alpha1 import InferenceService, load_inference_service
from pagelet_operator.desired import Facts, KubernetesObject, desired_children, new_revision
from pagelet_operator.model_state import JobWish, ModelState

from ..conftest import MODEL_FACTS

FACTS = Facts(engine_image="engine:1", gateway_image="gateway:1", model_image="operator:1", model=MODEL_FACTS)
UNKNOWN = ModelState(job=JobWish.MAKE)
KNOWN = ModelState(facts=MODEL_FACTS, job=JobWish.MAKE)


def render(service: InferenceService, replicas: int | None = None) -> tuple[KubernetesObject, ...]:
    """All at once, the Job included, which in a cluster is made once and then kept."""
    replicas = service.spec.replicas if replicas is None else replicas
    return desired_children(service, [new_revision(service, FACTS, replicas)], FACTS, model=KNOWN)


def of(fields: dict[str, Any]) -> tuple[KubernetesObject, ...]:
    return render(load_inference_service(fields))


def one(children: tuple[KubernetesObject, ...], kind: str, component: str = "", ending: str = "") -> KubernetesObject:
    [found] = [
        child
        for child in children
        if child["kind"] == kind
        and component in ("", child["metadata"]["labels"].get(names.LABEL_COMPONENT))
        and child["metadata"]["name"].endswith(ending)
    ]
    return found


def pod_templates(children: tuple[KubernetesObject, ...]) -> list[KubernetesObject]:
    return [child["spec"]["template"] for child in children if "template" in child.get("spec", {})]


def pod_of(children: tuple[KubernetesObject, ...], kind: str) -> KubernetesObject:
    """The pod's spec in the one object of this kind."""
    spec: KubernetesObject = one(children, kind)["spec"]["template"]["spec"]
    return spec


def container_of(children: tuple[KubernetesObject, ...], kind: str) -> KubernetesObject:
    """Our own container there."""
    container: KubernetesObject = pod_of(children, kind)["containers"][0]
    return container
