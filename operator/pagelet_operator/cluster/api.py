"""What the operator asks of an API server, as a Protocol, and how a server says no.

The boundary that tests replace, and that a program around the operator may wrap (`run(settings, connect=…)`).
Knows no HTTP.
"""

from typing import Protocol

from pagelet_operator.cluster.kinds import Kind
from pagelet_operator.observed import KubernetesObject

FIELD_MANAGER = "pagelet-operator"


class ApiError(Exception):
    """The API server did not do what was asked; the message is its own sentence.

    `reason` is one of the words of metav1.StatusReason ("Forbidden"), or ours for a server that gave no answer.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


class Unreachable(ApiError):
    """No answer, or one that says "later" (429, 5xx): asking again is all there is to do."""


class Conflict(ApiError):
    """What was to be changed has changed since it was read, or exists already."""


class Refused(ApiError):
    """The server will not do this, today or tomorrow: a wrong field, a quota, an admission rule, a missing right."""


class NamespaceEnds(Refused):
    """Nothing can be made in a namespace that is being deleted, and nobody can call that off."""


class Api(Protocol):
    """All methods raise ApiError. Objects come back with apiVersion and kind."""

    async def close(self) -> None:
        """The last call."""
        ...

    async def get(self, kind: Kind, namespace: str, name: str) -> KubernetesObject | None: ...

    async def list(
        self, kind: Kind, namespace: str | None, *, selector: str = "", fields: str = "", metadata_only: bool = False
    ) -> tuple[list[KubernetesObject], int]:
        """All objects, and the resource version at which that was so."""
        ...

    async def apply(self, obj: KubernetesObject, *, dry_run: bool = False) -> KubernetesObject:
        """Server-side apply as FIELD_MANAGER, with force."""
        ...

    async def create(self, obj: KubernetesObject) -> KubernetesObject: ...

    async def replace(self, obj: KubernetesObject) -> KubernetesObject:
        """Put; its resourceVersion must be the newest."""
        ...

    async def patch_status(self, obj: KubernetesObject) -> KubernetesObject:
        """Merge `obj["status"]` into the status; obj's resourceVersion must be the newest."""
        ...

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> KubernetesObject | None:
        """Delete this very object; its dependents follow in the background. What is left of it (it has finalizers), or
        None; nothing happens where it is gone already."""
        ...
