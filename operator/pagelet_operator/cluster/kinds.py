"""The kinds that the operator reads and writes, and where the API server keeps them."""

from typing import NamedTuple

from pagelet_api.v1alpha1 import API_VERSION, KIND


class Kind(NamedTuple):
    api_version: str
    name: str
    plural: str

    @property
    def group(self) -> str:
        """Empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        return self.api_version.rpartition("/")[2]

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """Path of a list or object below the server's address; `namespace` None: all, or a kind that has none."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"
        scope = ["namespaces", namespace] if namespace is not None else []
        return "/".join([root, *scope, self.plural, *([name] if name else []), *([subresource] if subresource else [])])


SERVICE = Kind(API_VERSION, KIND, "inferenceservices")
POD = Kind("v1", "Pod", "pods")
NODE = Kind("v1", "Node", "nodes")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
EVENT = Kind("events.k8s.io/v1", "Event", "events")
CHILDREN = (
    Kind("v1", "ConfigMap", "configmaps"),
    Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    Kind("v1", "Service", "services"),
    Kind("v1", "ServiceAccount", "serviceaccounts"),
    Kind("apps/v1", "Deployment", "deployments"),
    Kind("apps/v1", "ReplicaSet", "replicasets"),
    Kind("batch/v1", "Job", "jobs"),
    Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
)
"""What is rendered from an InferenceService."""
WATCHED = (SERVICE, *CHILDREN, POD)

_BY_NAME = {kind[:2]: kind for kind in (*WATCHED, NODE, LEASE, EVENT)}


def kind_of(api_version: str, name: str) -> Kind:
    """Raises KeyError for a kind that the operator has no business with."""
    return _BY_NAME[api_version, name]
