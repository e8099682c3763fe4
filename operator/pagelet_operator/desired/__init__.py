"""What should exist for one InferenceService: a pure function from spec, revisions and facts to Kubernetes objects.

Refuses to know what exists: comparing and applying are other rooms. The same input gives the same bytes, in an order in
which each object comes after those it refers to.
"""

from collections.abc import Sequence

from pagelet_api.v1alpha1 import InferenceService

from pagelet_operator.desired.engine import engine_children, new_revision
from pagelet_operator.desired.facts import Facts
from pagelet_operator.desired.gateway import gateway_children
from pagelet_operator.desired.metadata import KubernetesObject, metadata
from pagelet_operator.desired.pods import service_account
from pagelet_operator.revision import Revision

__all__ = ["Facts", "KubernetesObject", "desired_children", "new_revision"]


def desired_children(
    service: InferenceService, revisions: Sequence[Revision], facts: Facts
) -> tuple[KubernetesObject, ...]:
    """Every child object, in the form in which it is sent to the API server.

    `revisions` are all that should exist, oldest first, each as it was rendered when it came up (`new_revision`), with
    the replicas it should have now. How the replicas are spread over revisions, and whether a suspended service has
    any, is the rollout's decision, not this function's.
    """
    return (
        service_account(metadata(service, service.metadata.name)),
        *engine_children(service, revisions),
        *gateway_children(service, facts),
    )
