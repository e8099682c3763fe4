"""One look at one InferenceService: observe, decide, write what is missing, write the status, say what changed.

Owns the order of writes and what becomes of their failures. Decides nothing about objects (`decision` does), and never
asks which event it was called for.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pagelet_operator.census import Census
from pagelet_operator.cluster.api import ApiError, Conflict, NamespaceEnds, Refused, Unreachable
from pagelet_operator.cluster.store import ServiceKey, Store
from pagelet_operator.cluster.writer import Writer
from pagelet_operator.decision import Decision, decide
from pagelet_operator.observed import KubernetesObject, ObjectKey, Observed
from pagelet_operator.plan import APPLIED_HASH_ANNOTATION, Plan
from pagelet_operator.release import Release
from pagelet_operator.transitions import transitions

REFUSAL_REMEMBERED_S = 60.0
"""For how long what a dry run refused is not asked again."""
# Pods refer to these, and would start without them or hold a device while they wait.
_NEEDED_FIRST = frozenset({"ConfigMap", "NetworkPolicy", "PersistentVolumeClaim", "ServiceAccount"})

logger = logging.getLogger(__name__)


class Unfinished(Exception):
    """What was written shows what to write next. Not an error; but whoever writes without end is to be slowed down."""


class TryAgain(Exception):
    """What had to be written is not written. `reason` is one word for the metric."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class CensusTaker(Protocol):
    async def take(self) -> Census | None:
        """Which devices the cluster has and who holds them; None: it cannot be known."""
        ...


@dataclass(frozen=True, slots=True)
class _Refusal:
    applied_hash: str
    sentence: str
    until_s: float


class Reconciler:
    """Reconciles one key at a time each, as the work queue promises; different keys at once."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        census_taker: CensusTaker,
        release: Release,
        now_s: Callable[[], float],
        identity: str,
    ) -> None:
        self._store = store
        self._writer = writer
        self._census_taker = census_taker
        self._release = release
        self._now_s = now_s  # since the epoch: compared with times in objects
        self._identity = identity
        self._refusals: dict[ServiceKey, _Refusal] = {}
        self._ending: dict[ServiceKey, str] = {}
        """The uid of a service whose namespace is being deleted."""

    async def reconcile(self, key: ServiceKey) -> float | None:
        """Returns in how many seconds to look again though nothing happens. Raises Unfinished, TryAgain, LeaseLost."""
        observed = self._store.observed(key)
        if observed is None:
            self._refusals.pop(key, None)
            self._ending.pop(key, None)
            return None
        uid = observed.service["metadata"]["uid"]
        if self._ending.get(key) == uid:
            return None
        try:
            return await self._reconcile(key, observed)
        except NamespaceEnds:
            # Its children go before it or after it, as it comes; bringing them back would be refused until it is gone.
            logger.info("its namespace ends: the service is left alone", extra={"key": str(key)})
            self._ending[key] = uid
            return None

    async def _reconcile(self, key: ServiceKey, observed: Observed) -> float | None:
        census = await self._census_taker.take() if _waits_for_a_node(observed) else None
        decision = self._decide(observed, census)
        strangers = await self._strangers(key, decision.plan)
        if strangers:
            observed = _with(observed, strangers)
            decision = self._decide(observed, census)
        if decision.dry_run and (sentence := await self._refusal(key, decision.dry_run)):
            decision = self._decide(observed, census, sentence)
            refused = sentence
        else:
            refused = ""
        failures = await self._write(key, observed, decision.plan)
        if not decision.plan.is_empty and (written := self._store.observed(key)):
            observed = _with(written, strangers)
            decision = self._decide(observed, census, refused)
        await self._write_status(key, observed, decision, failures)
        if failures:
            raise TryAgain(failures[0].reason, "; ".join(failure.message for failure in failures))
        if not decision.plan.is_empty:
            raise Unfinished
        wishes = [decision.wake_in_s, REFUSAL_REMEMBERED_S if refused else None]
        return min((wish for wish in wishes if wish is not None), default=None)

    def _decide(self, observed: Observed, census: Census | None, refused: str = "") -> Decision:
        return decide(observed, self._release, census, self._now_s(), refused)

    async def _strangers(self, key: ServiceKey, plan: Plan) -> dict[ObjectKey, KubernetesObject]:
        """What has the name of an object that seems to be missing: another's, or ours and not seen yet."""
        try:
            found = await asyncio.gather(*(self._writer.find(key, name) for name in plan.missing))
        except ApiError as error:
            raise TryAgain(error.reason, error.message) from error
        return {name: obj for name, obj in zip(plan.missing, found, strict=True) if obj is not None}

    async def _refusal(self, key: ServiceKey, objects: Sequence[KubernetesObject]) -> str:
        """Why the API server would not take these objects; empty: it would. Raises TryAgain where it does not say."""
        for obj in objects:
            applied_hash = obj["metadata"]["annotations"][APPLIED_HASH_ANNOTATION]
            known = self._refusals.get(key)
            if known and known.applied_hash == applied_hash and self._now_s() < known.until_s:
                return known.sentence
            try:
                await self._writer.try_out(obj)
            except NamespaceEnds:
                raise
            except Refused as refusal:
                until_s = self._now_s() + REFUSAL_REMEMBERED_S
                self._refusals[key] = _Refusal(applied_hash, refusal.message, until_s)
                return refusal.message
            except ApiError as error:
                raise TryAgain(error.reason, error.message) from error
        self._refusals.pop(key, None)
        return ""

    async def _write(self, key: ServiceKey, observed: Observed, plan: Plan) -> list[ApiError]:
        """Apply, then delete. A refusal does not stop what does not depend on it; nothing is deleted after one."""
        failures: list[ApiError] = []
        for obj in plan.apply:
            try:
                await self._writer.apply(key, obj)
            except NamespaceEnds:
                raise
            except ApiError as error:
                failures.append(_of(error, "applying", ObjectKey.of(obj)))
                if isinstance(error, Unreachable) or obj["kind"] in _NEEDED_FIRST:
                    return failures
        for name in plan.delete if not failures else ():
            try:
                await self._writer.delete(key, name, observed.children[name])
            except ApiError as error:
                failures.append(_of(error, "deleting", name))
        return failures

    async def _write_status(
        self, key: ServiceKey, observed: Observed, decision: Decision, failures: Sequence[ApiError]
    ) -> None:
        """Only where it says something else than before; and an Event for each thing that is new."""
        status = decision.status([failure.message for failure in failures])
        before = observed.service.get("status", {})
        if status is None or status == before:
            return
        try:
            await self._writer.write_status(key, observed.service, status)
            for transition in transitions(before, status):
                await self._writer.emit(key, transition.event(observed.service, self._identity, self._now_s()))
        except Conflict as conflict:
            raise TryAgain("Conflict", conflict.message) from conflict
        except NamespaceEnds:
            raise
        except ApiError as error:
            raise TryAgain(error.reason, f"writing the status: {error.message}") from error


def _waits_for_a_node(observed: Observed) -> bool:
    return any(
        condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable"
        for pod in observed.pods
        for condition in pod.get("status", {}).get("conditions", ())
    )


def _with(observed: Observed, strangers: dict[ObjectKey, KubernetesObject]) -> Observed:
    return replace(observed, children={**strangers, **observed.children}) if strangers else observed


def _of(error: ApiError, doing: str, name: ObjectKey) -> ApiError:
    return type(error)(error.status, error.reason, f"{doing} {name}: {error.message}")
