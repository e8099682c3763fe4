"""Names, labels, selectors and owner references of everything rendered from one InferenceService."""

from typing import Any

from pagelet_api import names
from pagelet_api.v1alpha1 import API_VERSION, KIND, InferenceService

KubernetesObject = dict[str, Any]

CONFIG_HASH_ANNOTATION = f"{names.GROUP}/config-hash"
FETCHES_LABEL = f"{names.GROUP}/fetches"
"""On pods that reach out of the cluster for a model: the network policy finds them by it, whatever they do besides."""
NOT_EVICTED = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}
"""Annotation of pods that are expensive to start again: no node is taken away under them to save one."""


def engine_service_name(service: InferenceService) -> str:
    """The headless Service whose addresses are the ready engines."""
    return f"{service.metadata.name}-engine"


def gateway_name(service: InferenceService) -> str:
    return f"{service.metadata.name}-gateway"


def selector(service: InferenceService, component: str = "", revision: str = "") -> dict[str, str]:
    """The labels by which pods of this component (and revision) are found; a ReplicaSet's can never change."""
    found_by = {
        names.LABEL_SERVICE: service.metadata.name,
        names.LABEL_COMPONENT: component,
        names.LABEL_REVISION: revision,
    }
    return {label: value for label, value in found_by.items() if value}


def labels(service: InferenceService, component: str = "", revision: str = "") -> dict[str, str]:
    """The selector's labels, and those that dashboards and people look for."""
    return {
        "app.kubernetes.io/name": "pagelet",
        "app.kubernetes.io/instance": service.metadata.name,
        "app.kubernetes.io/managed-by": "pagelet-operator",
        **selector(service, component, revision),
    }


def metadata(
    service: InferenceService,
    name: str,
    component: str = "",
    revision: str = "",
    *,
    annotations: dict[str, str] | None = None,
    outlives: bool = False,
) -> dict[str, Any]:
    """metadata of a child object. The owner reference makes Kubernetes delete it with its service, unless it outlives
    it; without a uid (a file that was never applied) there is no owner to refer to."""
    fields: dict[str, Any] = {
        "name": name,
        "namespace": service.metadata.namespace,
        "labels": labels(service, component, revision),
    }
    if annotations:
        fields["annotations"] = annotations
    if service.metadata.uid and not outlives:
        fields["ownerReferences"] = [
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": service.metadata.name,
                "uid": service.metadata.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]
    return fields
