"""Nodes, and who is on them, at one moment: what is asked of the cluster only when a pod waits for a device."""

from dataclasses import dataclass

from pagelet_operator.observed import KubernetesObject


@dataclass(frozen=True, slots=True)
class Census:
    nodes: tuple[KubernetesObject, ...]
    pods: tuple[KubernetesObject, ...]
    """All pods that have a node and have not ended, of every namespace; as much of them as counting devices needs."""
