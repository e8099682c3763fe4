"""The engines behind this gateway: found by name, kept connected, chosen for each request.

Owns one link an engine. Which engine a request goes to is decided in `routing`.
"""

import asyncio
import contextlib
import itertools
import math
from collections.abc import Awaitable, Callable, Set
from concurrent.futures import Executor

from pagelet_gateway.link import EngineLink, LinkTiming
from pagelet_gateway.model import Models, ServedModel, Workers
from pagelet_gateway.routing import Candidate, least_loaded

Resolve = Callable[[], Awaitable[frozenset[str] | None]]

HOLD_S = 10.0
"""Requests wait this long after the last engine has gone for another: longer than a new one takes to be found, which is
the name server's caching (5 s in a cluster) and our asking (2 s). Later they are refused at once."""


class Engines:
    def __init__(
        self,
        resolve: Resolve,
        executor: Executor,
        workers: Workers,
        *,
        gateway: str,
        resolve_interval_s: float,
        eager_interval_s: float,
        timing: LinkTiming | None = None,
        hold_s: float = HOLD_S,
    ) -> None:
        """`eager_interval_s`: how often to ask for engines while there is none."""
        self._resolve = resolve
        self._models = Models(executor, workers)
        self._gateway = gateway
        self._interval_s, self._eager_interval_s = resolve_interval_s, eager_interval_s
        self._timing = timing or LinkTiming()
        self._links: dict[str, EngineLink] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._turns = itertools.count(1)
        self._changed = asyncio.Event()
        self._hold_s = hold_s
        self._had_one = False
        self._gone_s = -math.inf
        """When the last engine that took requests went."""

    async def run(self) -> None:
        """Find engines and stay connected to them, until cancelled."""
        try:
            while True:
                addresses = await self._resolve()
                if addresses is not None:
                    await self._adopt(addresses)
                await asyncio.sleep(self._interval_s if self._has_one() else self._eager_interval_s)
        finally:
            await self._drop(set(self._links))

    @property
    def links(self) -> tuple[EngineLink, ...]:
        return tuple(self._links.values())

    @property
    def model(self) -> ServedModel | None:
        """The model of the engine that a request would go to now; None when no engine takes requests."""
        link = self._choose(lambda link: True)
        return link.model if link else None

    def pick(self, digest: str, tried: Set[str] = frozenset()) -> EngineLink | None:
        """An engine with this very model (tokens of one tokenizer mean nothing to another) for one request."""
        link = self._choose(lambda link: link.model is not None and link.model.digest == digest, tried)
        if link is not None:
            link.last_used = next(self._turns)
        return link

    async def changed(self) -> None:
        """Wait until an engine has come or gone."""
        await self._changed.wait()

    async def wait(self) -> bool:
        """Wait for an engine that takes requests while the last one has only just gone. False: there is none."""
        loop = asyncio.get_running_loop()
        while not self._has_one():
            left_s = self._gone_s + self._hold_s - loop.time()
            if left_s <= 0:
                return False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self.changed()
        return True

    def _has_one(self) -> bool:
        return any(link.usable for link in self._links.values())

    def _choose(self, suits: Callable[[EngineLink], bool], tried: Set[str] = frozenset()) -> EngineLink | None:
        address = least_loaded(
            (
                Candidate(link.address, link.in_flight, link.others, link.listed, link.last_used)
                for link in self._links.values()
                if link.usable and suits(link)
            ),
            tried,
        )
        return self._links[address] if address else None

    async def _adopt(self, addresses: frozenset[str]) -> None:
        for address in addresses - self._links.keys():
            link = EngineLink(address, self._gateway, self._models, self._notify, self._timing)
            self._links[address] = link
            self._tasks[address] = asyncio.create_task(link.run(), name=f"engine {address}")
        for address, link in self._links.items():
            link.listed = address in addresses
        # A connected engine that is no longer listed finishes what it has. While no engine is listed at all, the list
        # is not believed.
        await self._drop(
            {
                address
                for address, link in self._links.items()
                if not link.listed and (not link.connected or (addresses and not link.in_flight))
            }
        )
        await self._models.keep({link.model.digest for link in self._links.values() if link.model})

    async def _drop(self, addresses: Set[str]) -> None:
        for address in addresses:
            self._links.pop(address)
            task = self._tasks.pop(address)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if addresses:
            self._notify()

    def _notify(self) -> None:
        has_one = self._has_one()
        if self._had_one and not has_one:
            self._gone_s = asyncio.get_running_loop().time()
        self._had_one = has_one
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
