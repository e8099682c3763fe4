"""What the operator asks of the API server: every group, resource and verb it uses, and why.

The chart's roles are rendered from this list, and tests hold the operator's client and the audit log to it. Knows no
names of roles.
"""

from dataclasses import dataclass

from pagelet_api import names

# Server-side apply needs patch, and create where there is nothing. An object is read (get) before it is applied for the
# first time, so that nobody else's of the same name is taken over.
_CHILD_VERBS = ("get", "list", "watch", "create", "patch", "delete")


@dataclass(frozen=True, slots=True)
class Permission:
    group: str
    resource: str
    verbs: tuple[str, ...]
    why: str

    def rule(self) -> dict[str, list[str]]:
        """A rule of a Role or ClusterRole."""
        return {"apiGroups": [self.group], "resources": [self.resource], "verbs": list(self.verbs)}


NAMESPACED: tuple[Permission, ...] = (
    Permission(names.GROUP, "inferenceservices", ("get", "list", "watch"), "what users want; never written"),
    Permission(names.GROUP, "inferenceservices/status", ("patch",), "what became of it"),
    Permission(
        names.GROUP,
        "inferenceservices/finalizers",
        ("update",),
        "owner references that block deletion, on clusters that check",
    ),
    Permission("", "pods", ("list", "watch"), "whether engines are ready, and why not"),
    Permission("", "configmaps", _CHILD_VERBS, "configuration of engines and gateways, revisions, model facts"),
    Permission("", "persistentvolumeclaims", _CHILD_VERBS, "volumes of fetched models"),
    Permission("", "serviceaccounts", _CHILD_VERBS, "the pods' account, which has no rights and no token"),
    Permission("", "services", _CHILD_VERBS, "where clients find the gateway, and gateways the engines"),
    Permission("apps", "deployments", _CHILD_VERBS, "gateways"),
    Permission("apps", "replicasets", _CHILD_VERBS, "engines, one a revision"),
    Permission("batch", "jobs", _CHILD_VERBS, "fetch and verify a model"),
    Permission("networking.k8s.io", "networkpolicies", _CHILD_VERBS, "who may talk to whom"),
    Permission("policy", "poddisruptionbudgets", _CHILD_VERBS, "a node's drain takes one at a time"),
    Permission("events.k8s.io", "events", ("create",), "one a transition"),
)
"""In every namespace that is watched: by a ClusterRole, or by a Role in each listed namespace."""

CLUSTER: tuple[Permission, ...] = (
    Permission("", "nodes", ("list",), "how many devices are free, for the sentence about a pod that finds none"),
)
"""Only where all namespaces are watched. Without them, the sentence has no number of free devices."""

LEASE: tuple[Permission, ...] = (
    Permission("coordination.k8s.io", "leases", ("get", "create", "update"), "which of the operator's replicas writes"),
)
"""In the operator's own namespace."""


def rules(permissions: tuple[Permission, ...]) -> list[dict[str, list[str]]]:
    """Rules of a Role, in the order of the list."""
    return [permission.rule() for permission in permissions]
