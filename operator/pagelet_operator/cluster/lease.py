"""Which of the operator's replicas writes: the holder of a Lease, as long as it renews it.

Clocks of two machines are never compared: a standby measures, on its own clock, for how long the Lease has not changed,
as client-go's leader election does. The holder trusts itself for a shorter time than the others wait.
Source: https://kubernetes.io/docs/concepts/architecture/leases/
"""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pagelet_operator.cluster.api import Api, ApiError
from pagelet_operator.cluster.kinds import LEASE
from pagelet_operator.observed import KubernetesObject

LEASE_NAME = "pagelet-operator"
DURATION_S = 15.0
"""For how long a holder that says nothing is believed to be alive."""
TRUST_S = 10.0
"""For how long a holder that cannot renew goes on: the difference is for requests that are on their way."""
RENEW_S = 5.0
RETRY_S = 2.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Seen:
    lease: KubernetesObject
    since_s: float
    """When this holder and this renewTime were first seen, on our clock."""

    def is_same(self, lease: KubernetesObject) -> bool:
        return _claim(self.lease) == _claim(lease)


class Election:
    """`step` is one attempt to take or keep the Lease; `run` does them in time."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        identity: str,
        monotonic_s: Callable[[], float],
        utc_now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._identity = identity
        self._monotonic_s = monotonic_s
        self._utc_now = utc_now
        self._seen: _Seen | None = None
        self._renewed_s: float | None = None  # when our last successful request was sent
        self._changed = asyncio.Event()

    @property
    def held(self) -> bool:
        return self._renewed_s is not None and self._monotonic_s() < self._renewed_s + TRUST_S

    @property
    def remaining_s(self) -> float:
        """Until another may hold it: no request of ours may take longer. 0: not held."""
        if not self.held:
            return 0.0
        assert self._renewed_s is not None
        return self._renewed_s + DURATION_S - self._monotonic_s()

    async def step(self) -> bool:
        """Take the Lease if it is free or ours. Whether that was done. Raises nothing: no answer changes nothing."""
        began_s = self._monotonic_s()
        try:
            async with asyncio.timeout(RENEW_S):
                lease = await self._api.get(LEASE, self._namespace, LEASE_NAME)
                if lease is None:
                    await self._api.create(self._claimed(None))
                elif self._may_take(lease):
                    await self._api.replace(self._claimed(lease))
                else:
                    self._renewed_s = None
                    return False
        except (ApiError, TimeoutError) as error:
            # A conflict means that another was faster; the next look will show who.
            logger.info("the lease was not taken", extra={"error": str(error) or type(error).__name__})
            return False
        self._renewed_s = began_s
        return True

    async def release(self) -> None:
        """Let another take it at once. For a clean end; raises nothing."""
        if not self.held:
            return
        self._renewed_s = None
        try:
            lease = await self._api.get(LEASE, self._namespace, LEASE_NAME)
            if lease and lease["spec"].get("holderIdentity") == self._identity:
                spec = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
                await self._api.replace({**lease, "spec": spec})
        except ApiError as error:
            logger.info("the lease was not released", extra={"error": str(error)})

    async def run(self, lead: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Forever: wait for the Lease, then run `lead()` until the Lease is lost, then cancel it; and again.

        `lead` may end by itself when it notices first. Raises whatever it raises.
        """
        leading: asyncio.Task[None] | None = None
        renewing = asyncio.create_task(self._renew())
        try:
            while True:
                if self.held and leading is None:
                    logger.info("this replica leads", extra={"identity": self._identity})
                    leading = asyncio.create_task(lead())
                if not self.held and leading is not None:
                    logger.warning("the lease is lost: this replica stands by", extra={"identity": self._identity})
                    await _cancel(leading)
                    leading = None
                if leading is None:
                    await self._changed.wait()
                    self._changed.clear()
                else:
                    assert self._renewed_s is not None
                    wait_s = self._renewed_s + TRUST_S - self._monotonic_s()
                    await asyncio.wait({leading}, timeout=max(0.0, wait_s))
                    if leading.done():
                        leading.result()
                        leading = None
        finally:
            await _cancel(renewing)
            if leading is not None:
                await _cancel(leading)

    async def _renew(self) -> None:
        while True:
            renewed = await self.step()
            self._changed.set()
            await asyncio.sleep(RENEW_S if renewed else RETRY_S * random.uniform(0.8, 1.4))

    def _may_take(self, lease: KubernetesObject) -> bool:
        now_s = self._monotonic_s()
        if self._seen is None or not self._seen.is_same(lease):
            self._seen = _Seen(lease, now_s)
        holder = lease["spec"].get("holderIdentity", "")
        if holder in ("", self._identity):
            return True
        return now_s >= self._seen.since_s + float(lease["spec"].get("leaseDurationSeconds", DURATION_S))

    def _claimed(self, lease: KubernetesObject | None) -> KubernetesObject:
        """The Lease as it is when it is ours."""
        now = self._utc_now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = dict(lease["spec"]) if lease else {}
        if spec.get("holderIdentity") != self._identity:
            spec |= {"acquireTime": now, "leaseTransitions": spec.get("leaseTransitions", 0) + 1 if lease else 0}
        spec |= {"holderIdentity": self._identity, "leaseDurationSeconds": int(DURATION_S), "renewTime": now}
        metadata = lease["metadata"] if lease else {"namespace": self._namespace, "name": LEASE_NAME}
        return {"apiVersion": LEASE.api_version, "kind": LEASE.name, "metadata": metadata, "spec": spec}


def _claim(lease: KubernetesObject) -> tuple[Any, Any]:
    return lease["spec"].get("holderIdentity"), lease["spec"].get("renewTime")


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
