"""Whether the Store is what the API server has: filled by a list at the start, then compared with one, again and again.

A watch that begins never tells of what was deleted before: so a kind is listed again, names and versions alone, as soon
as its watch begins, and who is gone is forgotten. And a watch that is silent says nothing of it: so every kind is
listed from time to time; what the Store should have known by then and does not is repaired by a full list, and the
kind's watch counts as having given no sign of life.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Sequence

from pagelet_api import names

from pagelet_operator.cluster.api import Api, ApiError
from pagelet_operator.cluster.kinds import SERVICE, WATCHED, Kind
from pagelet_operator.cluster.store import ServiceKey, Store, version_of
from pagelet_operator.metrics import Metrics
from pagelet_operator.observed import KubernetesObject
from pagelet_operator.workqueue import WorkQueue

COMPARE_EVERY_S = 60.0
GRACE_S = 10.0
"""How late a watch may tell what a list shows."""
_BURST_S = 0.2
"""A watch that begins tells of everything there is: one list after that is enough."""
_BEGUN_S = 3.0
"""By then a watch has begun that had nothing to tell of."""
_RETRY_S = 2.0

logger = logging.getLogger(__name__)


class Sync:
    """`changed` is called with the key of each service about which there is news."""

    def __init__(
        self,
        api: Api,
        store: Store,
        namespaces: Sequence[str],
        metrics: Metrics,
        changed: Callable[[ServiceKey], None],
        monotonic_s: Callable[[], float],
    ) -> None:
        self._api = api
        self._store = store
        self._scopes: tuple[str | None, ...] = tuple(namespaces) or (None,)
        self._metrics = metrics
        self._changed = changed
        self._monotonic_s = monotonic_s
        self._alive_s: dict[Kind, float] = {}
        self._begun = WorkQueue[Kind]()

    @property
    def complete(self) -> bool:
        """Whether every kind has been listed: nothing may be decided before."""
        return len(self._alive_s) == len(WATCHED)

    def ages_s(self) -> dict[str, float]:
        """By kind, for how long nothing has shown that its watch works."""
        now_s = self._monotonic_s()
        return {kind.name: now_s - alive_s for kind, alive_s in self._alive_s.items()}

    def see(self, event_type: str | None, obj: KubernetesObject) -> None:
        """Take in an event of a watch; the type is None for what was there when the watch began."""
        kind = next((kind for kind in WATCHED if kind[:2] == (obj.get("apiVersion"), obj.get("kind"))), None)
        if kind is None:
            return
        if kind in self._alive_s:
            self._alive_s[kind] = self._monotonic_s()
        if event_type is None:
            self._begun.add_after(kind, _BURST_S)
        key = self._store.remove(obj) if event_type == "DELETED" else self._store.put(obj)
        if key is not None:
            self._changed(key)

    async def fill(self) -> None:
        """List every kind, however long it takes the server to answer."""
        for kind in WATCHED:
            while True:
                try:
                    await self._list(kind)
                    break
                except ApiError as error:
                    logger.warning("cannot list", extra={"kind": kind.name, "error": error.message})
                    await asyncio.sleep(_RETRY_S)
            self._alive_s[kind] = self._monotonic_s()

    async def run(self) -> None:
        """Forever: forget, compare, repair. To be started with the watches."""
        for kind in WATCHED:
            self._begun.add_after(kind, _BEGUN_S)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_beginnings())
            group.create_task(self._compare_in_turn())

    async def _follow_beginnings(self) -> None:
        while True:
            kind = await self._begun.get()
            try:
                await self.forget_gone(kind)
            except ApiError as error:
                logger.warning("cannot list", extra={"kind": kind.name, "error": error.message})
                self._begun.failed(kind)
            else:
                self._begun.succeeded(kind)

    async def _compare_in_turn(self) -> None:
        while True:
            for kind in WATCHED:
                await asyncio.sleep(random.uniform(0.5, 1.5) * COMPARE_EVERY_S / len(WATCHED))
                try:
                    await self.compare(kind)
                except ApiError as error:
                    logger.warning("cannot list", extra={"kind": kind.name, "error": error.message})

    async def forget_gone(self, kind: Kind) -> None:
        """Forget what a list does not show any more. Raises ApiError."""
        for scope in self._scopes:
            listed, version = await self._api.list(kind, scope, selector=_selector(kind), metadata_only=True)
            self._forget(self._not_among(kind, scope, listed, version))

    async def compare(self, kind: Kind, grace_s: float = GRACE_S) -> None:
        """Raises ApiError."""
        shown, gone = [], []
        for scope in self._scopes:
            listed, version = await self._api.list(kind, scope, selector=_selector(kind), metadata_only=True)
            shown += listed
            gone += self._not_among(kind, scope, listed, version)
        if self._behind(shown) or gone:
            await asyncio.sleep(grace_s)
        behind = self._behind(shown)
        gone = [obj for obj in gone if self._store.version(obj) == version_of(obj)]
        if not behind and not gone:
            self._alive_s[kind] = self._monotonic_s()
            return
        logger.warning("the watch missed changes", extra={"kind": kind.name, "objects": len(behind) + len(gone)})
        self._metrics.watch_repairs.labels(kind.name).inc(len(behind) + len(gone))
        await self._list(kind)

    def _behind(self, shown: Iterable[KubernetesObject]) -> list[KubernetesObject]:
        return [obj for obj in shown if self._store.version(obj) < version_of(obj)]

    async def _list(self, kind: Kind) -> None:
        for scope in self._scopes:
            listed, version = await self._api.list(kind, scope, selector=_selector(kind))
            for obj in listed:
                if (key := self._store.put(obj)) is not None:
                    self._changed(key)
            self._forget(self._not_among(kind, scope, listed, version))

    def _forget(self, gone: Iterable[KubernetesObject]) -> None:
        for obj in gone:
            if (key := self._store.remove(obj)) is not None:
                self._changed(key)

    def _not_among(
        self, kind: Kind, scope: str | None, listed: Iterable[KubernetesObject], version: int
    ) -> list[KubernetesObject]:
        """Objects that are gone: their latest known change was before `version`, and they are not listed at it."""
        uids = {obj["metadata"]["uid"] for obj in listed}
        return [
            obj
            for obj in self._store.of_kind(kind, scope)
            if obj["metadata"]["uid"] not in uids and version_of(obj) <= version
        ]


def _selector(kind: Kind) -> str:
    return "" if kind == SERVICE else names.LABEL_SERVICE
