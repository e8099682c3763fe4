"""What exists for one InferenceService, as the API server last showed it: the input of every decision.

A plain snapshot of live objects, without opinions. Refuses to know how it was read.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

KubernetesObject = Mapping[str, Any]


class ObjectKey(NamedTuple):
    """Names an object of the service's namespace."""

    api_version: str
    kind: str
    name: str

    @classmethod
    def of(cls, obj: KubernetesObject) -> "ObjectKey":
        return cls(obj["apiVersion"], obj["kind"], obj["metadata"]["name"])

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class Observed:
    """Objects carry apiVersion and kind, also where the API's lists leave them out."""

    service: KubernetesObject
    """The InferenceService itself, status included."""
    children: Mapping[ObjectKey, KubernetesObject] = field(default_factory=dict)
    """All objects of the kinds we render that carry the service's label, owned by it or not. No pods."""
    pods: tuple[KubernetesObject, ...] = ()
    """All pods that carry the service's label, those that are being deleted included."""
    replicas_owned: bool = True
    """Whether anybody's managed fields hold spec.replicas; otherwise its value is only the default."""

    def of_kind(self, kind: str) -> Iterable[KubernetesObject]:
        return (child for key, child in self.children.items() if key.kind == kind)
