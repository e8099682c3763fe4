"""What the API server last showed, by InferenceService: fed by watches, lists and the answers to our own writes.

Owns the question which of two versions is newer, and which objects are gone. Strips what nobody here reads. Knows no
server; decides nothing.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pagelet_api import names

from pagelet_operator.cluster.kinds import POD, SERVICE, Kind
from pagelet_operator.observed import KubernetesObject, ObjectKey, Observed

_REMEMBERED_GONE = 20_000


class ServiceKey(NamedTuple):
    """Names an InferenceService."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(slots=True)
class _Family:
    service: KubernetesObject | None = None
    replicas_owned: bool = True
    children: dict[ObjectKey, KubernetesObject] = field(default_factory=dict)
    pods: dict[str, KubernetesObject] = field(default_factory=dict)

    def find(self, key: ObjectKey) -> KubernetesObject | None:
        if key[:2] == SERVICE[:2]:
            return self.service
        return self.pods.get(key.name) if key[:2] == POD[:2] else self.children.get(key)

    def objects(self) -> Iterator[KubernetesObject]:
        if self.service is not None:
            yield self.service
        yield from self.children.values()
        yield from self.pods.values()

    @property
    def empty(self) -> bool:
        return self.service is None and not self.children and not self.pods


class Store:
    """Not thread-safe: belongs to one event loop."""

    def __init__(self) -> None:
        self._families: dict[ServiceKey, _Family] = {}
        # Objects never come back under the same uid, so whoever is here is gone for good, whatever a late event says.
        self._gone: dict[str, None] = {}

    def put(self, obj: KubernetesObject) -> ServiceKey | None:
        """Take in a version of an object. The key of the service it belongs to if that is news, else None."""
        key = family_key(obj)
        if key is None or obj["metadata"]["uid"] in self._gone:
            return None
        family = self._families.setdefault(key, _Family())
        name = ObjectKey.of(obj)
        known = family.find(name)
        if known is not None and version_of(known) >= version_of(obj):
            return None
        if name[:2] == SERVICE[:2]:
            if "managedFields" in obj["metadata"]:
                family.replicas_owned = _somebody_owns_replicas(obj)
            family.service = _compact(obj)
        elif name[:2] == POD[:2]:
            family.pods[name.name] = _compact(obj)
        else:
            family.children[name] = _compact(obj)
        return key

    def remove(self, obj: KubernetesObject) -> ServiceKey | None:
        """This very object (by uid) is gone. The key of its service if it was known."""
        uid = obj["metadata"]["uid"]
        self._gone[uid] = None
        while len(self._gone) > _REMEMBERED_GONE:
            del self._gone[next(iter(self._gone))]
        key, name = family_key(obj), ObjectKey.of(obj)
        family = self._families.get(key) if key else None
        found = family.find(name) if family else None
        if key is None or family is None or found is None or found["metadata"]["uid"] != uid:
            return None
        if name[:2] == SERVICE[:2]:
            family.service = None
        elif name[:2] == POD[:2]:
            del family.pods[name.name]
        else:
            del family.children[name]
        if family.empty:
            del self._families[key]
        return key

    def observed(self, key: ServiceKey) -> Observed | None:
        """A snapshot; None where there is no such service."""
        family = self._families.get(key)
        if family is None or family.service is None:
            return None
        pods = tuple(family.pods[name] for name in sorted(family.pods))
        return Observed(family.service, dict(family.children), pods, family.replicas_owned)

    def services(self) -> list[ServiceKey]:
        return [key for key, family in self._families.items() if family.service is not None]

    def of_kind(self, kind: Kind, namespace: str | None) -> list[KubernetesObject]:
        """Every known object of a kind, in one namespace or all."""
        return [
            obj
            for key, family in self._families.items()
            if namespace in (None, key.namespace)
            for obj in family.objects()
            if (obj["apiVersion"], obj["kind"]) == kind[:2]
        ]

    def version(self, obj: KubernetesObject) -> int:
        """The version in which this very object is known; 0: not known. Objects that are gone count as newest."""
        if obj["metadata"]["uid"] in self._gone:
            return sys.maxsize
        key = family_key(obj)
        family = self._families.get(key) if key else None
        found = family.find(ObjectKey.of(obj)) if family else None
        return version_of(found) if found and found["metadata"]["uid"] == obj["metadata"]["uid"] else 0


def family_key(obj: KubernetesObject) -> ServiceKey | None:
    """The service that an object belongs to: itself, or by its label."""
    metadata = obj["metadata"]
    if (obj["apiVersion"], obj["kind"]) == SERVICE[:2]:
        return ServiceKey(metadata["namespace"], metadata["name"])
    name = metadata.get("labels", {}).get(names.LABEL_SERVICE)
    return ServiceKey(metadata["namespace"], name) if name else None


def version_of(obj: KubernetesObject) -> int:
    # Versions of one kind are comparable numbers: https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
    return int(obj["metadata"]["resourceVersion"])


def _somebody_owns_replicas(service: KubernetesObject) -> bool:
    entries: Iterable[Mapping[str, Any]] = service["metadata"]["managedFields"]
    return any("f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {}) for entry in entries)


def _compact(obj: KubernetesObject) -> KubernetesObject:
    """Without managedFields, half of an object's bytes; each field name is kept in memory once, not once an object."""
    compacted: KubernetesObject = _interned({**obj, "metadata": {**obj["metadata"], "managedFields": None}})
    compacted["metadata"].pop("managedFields")
    return compacted


def _interned(value: Any) -> Any:
    if isinstance(value, dict):
        return {sys.intern(name): _interned(item) for name, item in value.items()}
    return [_interned(item) for item in value] if isinstance(value, list) else value
