"""Every write of a reconcile passes here: only while the lease is held, one log line each, counted.

Answers go into the Store at once, so that the next decision sees them whatever the watches are doing. Decides nothing.
"""

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any, Protocol, TypeVar

from pagelet_operator.cluster.api import Api, Conflict, Unreachable
from pagelet_operator.cluster.kinds import kind_of
from pagelet_operator.cluster.store import ServiceKey, Store
from pagelet_operator.metrics import Metrics
from pagelet_operator.observed import KubernetesObject, ObjectKey

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Lease(Protocol):
    @property
    def remaining_s(self) -> float:
        """For how long nobody else writes; 0: somebody else may."""
        ...


class LeaseLost(Exception):
    """Another replica may be writing: nothing more is to be written here."""


class Writer:
    """All methods raise ApiError and LeaseLost."""

    def __init__(self, api: Api, store: Store, lease: Lease, metrics: Metrics) -> None:
        self._api = api
        self._store = store
        self._lease = lease
        self._metrics = metrics

    async def try_out(self, obj: KubernetesObject) -> None:
        """Ask whether the server would take it; nothing is written."""
        await self._held(self._api.apply(obj, dry_run=True))

    async def find(self, key: ServiceKey, name: ObjectKey) -> KubernetesObject | None:
        """Whatever has this name now, whosever it is."""
        found = await self._api.get(kind_of(name.api_version, name.kind), key.namespace, name.name)
        if found is not None:
            self._store.put(found)
        return found

    async def apply(self, key: ServiceKey, obj: KubernetesObject) -> None:
        answer = await self._held(self._api.apply(obj))
        self._note("apply", key, obj["kind"], obj["metadata"]["name"])
        self._store.put(answer)

    async def delete(self, key: ServiceKey, name: ObjectKey, live: KubernetesObject) -> None:
        """Delete `live`, and no other object that has its name by now."""
        uid = live["metadata"]["uid"]
        kind = kind_of(name.api_version, name.kind)
        left = await self._held(self._api.delete(kind, key.namespace, name.name, uid))
        self._note("delete", key, name.kind, name.name)
        if left is None:
            self._store.remove(live)
        else:
            self._store.put(left)

    async def write_status(self, key: ServiceKey, service: KubernetesObject, status: dict[str, Any]) -> None:
        """Raises Conflict where the service has changed since; then the newest is in the Store."""
        patch = merge_patch(service.get("status", {}), status)
        try:
            answer = await self._held(self._api.patch_status({**service, "status": patch}))
        except Conflict:
            newest = await self._api.get(kind_of(service["apiVersion"], service["kind"]), key.namespace, key.name)
            if newest is not None:
                self._store.put(newest)
            raise
        self._note("status", key, service["kind"], key.name)
        self._store.put(answer)

    async def emit(self, key: ServiceKey, event: KubernetesObject) -> None:
        """Events have names of their own, so one that is said twice is there once."""
        try:
            await self._held(self._api.create(event))
        except Conflict:
            return
        self._note("event", key, event["kind"], event["reason"])

    async def _held(self, request: Awaitable[T]) -> T:
        remaining_s = self._lease.remaining_s
        if remaining_s <= 0:
            if asyncio.iscoroutine(request):
                request.close()
            raise LeaseLost("the lease is not held any more")
        try:
            async with asyncio.timeout(remaining_s):
                return await request
        except TimeoutError as error:
            raise Unreachable(0, "Timeout", f"no answer in the {remaining_s:.0f} s that the lease had left") from error

    def _note(self, action: str, key: ServiceKey, kind: str, name: str) -> None:
        self._metrics.api_writes.labels(action, kind).inc()
        logger.info("wrote", extra={"action": action, "key": str(key), "object": f"{kind}/{name}"})


def merge_patch(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What turns `before` into `after` by JSON Merge Patch (RFC 7386): lists whole, null for what goes."""
    patch: dict[str, Any] = {name: None for name in before if name not in after}
    for name, value in after.items():
        known = before.get(name)
        if isinstance(value, dict) and isinstance(known, dict):
            if deeper := merge_patch(known, value):
                patch[name] = deeper
        elif value != known or name not in before:
            patch[name] = value
    return patch
