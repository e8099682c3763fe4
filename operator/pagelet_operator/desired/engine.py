"""The engine's objects: for each revision an immutable ConfigMap and a ReplicaSet; one headless Service for all."""

from collections.abc import Sequence

from pagelet_api import names
from pagelet_api.v1alpha1 import InferenceService

from pagelet_operator.desired.metadata import KubernetesObject, engine_service_name, metadata, selector
from pagelet_operator.desired.pods import config_map, disruption_budget
from pagelet_operator.revision import SURGE_REFUSED_ANNOTATION, Revision


def engine_children(service: InferenceService, revisions: Sequence[Revision]) -> list[KubernetesObject]:
    """The objects of all revisions, and those that belong to the engines whatever their revision."""
    component = names.COMPONENT_ENGINE
    children = [
        child
        for revision in revisions
        for child in (revision_config_map(service, revision), revision_replica_set(service, revision))
    ]
    children.append(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata(service, engine_service_name(service), component),
            "spec": {
                "clusterIP": "None",
                "publishNotReadyAddresses": False,
                "selector": selector(service, component),
                "ports": [{"name": "grpc", "port": names.ENGINE_GRPC_PORT, "targetPort": "grpc", "protocol": "TCP"}],
            },
        }
    )
    if sum(revision.replicas for revision in revisions) > 1:
        budget = metadata(service, engine_service_name(service), component)
        children.append(disruption_budget(budget, selector(service, component)))
    return children


def revision_config_map(service: InferenceService, revision: Revision) -> KubernetesObject:
    """All that a revision is."""
    name = revision.name(service.metadata.name)
    return config_map(metadata(service, name, names.COMPONENT_ENGINE, revision.hash), revision.data, immutable=True)


def revision_replica_set(service: InferenceService, revision: Revision) -> KubernetesObject:
    """Its pods, from what was rendered when it came up; the rest of it is counts."""
    component, name = names.COMPONENT_ENGINE, revision.name(service.metadata.name)
    annotations = {SURGE_REFUSED_ANNOTATION: "true"} if revision.surge_refused else None
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": metadata(service, name, component, revision.hash, annotations=annotations),
        "spec": {
            "replicas": revision.replicas,
            "selector": {"matchLabels": selector(service, component, revision.hash)},
            "template": dict(revision.pod_template),
        },
    }
