"""What should exist for one InferenceService: a pure function from spec, revisions and facts to Kubernetes objects.

Refuses to know what exists: comparing and applying are other rooms. The same input gives the same bytes, in an order in
which each object comes after those it refers to.
"""

from collections.abc import Sequence

from pagelet_api.v1alpha1 import InferenceService

from pagelet_operator.desired.engine import engine_children, revision_config_map, revision_replica_set
from pagelet_operator.desired.engine_revision import new_revision
from pagelet_operator.desired.facts import Facts
from pagelet_operator.desired.gateway import gateway_children
from pagelet_operator.desired.metadata import KubernetesObject, metadata
from pagelet_operator.desired.model import model_children
from pagelet_operator.desired.network import network_policies
from pagelet_operator.desired.pods import service_account
from pagelet_operator.model_state import ModelState
from pagelet_operator.revision import Revision

__all__ = [
    "Facts",
    "KubernetesObject",
    "desired_children",
    "new_revision",
    "revision_config_map",
    "revision_replica_set",
]


def desired_children(
    service: InferenceService, revisions: Sequence[Revision], facts: Facts, *, model: ModelState | None = None
) -> tuple[KubernetesObject, ...]:
    """Every child object, in the form in which it is sent to the API server.

    `revisions` are all that should exist, oldest first, each as it was rendered when it came up (`new_revision`), with
    the replicas it should have now. How the replicas are spread over revisions, and whether a suspended service has
    any, is the rollout's decision, not this function's; so is to leave out the newest while its model is not known.
    `model` says how far the model is; None: this is no cluster, and the model is a folder. What exists of a model and
    is not rendered here must be kept: `model_state.kept_model_objects`.
    """
    return (
        service_account(metadata(service, service.metadata.name)),
        *network_policies(service, revisions, facts),
        *(model_children(service, facts, model) if model else ()),
        *engine_children(service, revisions),
        *gateway_children(service, facts),
    )
