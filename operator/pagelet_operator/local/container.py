"""Runs one container: starts its process, asks its probes, starts it again, stops it.

A thin action around `lifecycle.Life`, which decides; this file only waits, spawns and signals.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pagelet_operator.local.asking import ask
from pagelet_operator.local.lifecycle import Life
from pagelet_operator.local.probe import Role
from pagelet_operator.local.process import ContainerProcess, StartError, last_lines, size_of
from pagelet_operator.local.watchdog import Watchdog


@dataclass(frozen=True, slots=True)
class Invocation:
    """A container as a process of this machine: everything resolved, expanded and rewritten."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    address: str
    grace_s: float


class LocalContainer:
    """One container from its first start to its last stop."""

    def __init__(self, invocation: Invocation, life: Life, watchdog: Watchdog, on_change: Callable[[], None]) -> None:
        self.invocation = invocation
        self.life = life
        self._watchdog = watchdog
        self._on_change = on_change
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._life_began_at_byte = 0

    def stop(self, *, hurry: bool = False) -> None:
        """End it and start it no more. `hurry` grants no grace. `run` returns when it is gone."""
        self._stopping.set()
        if hurry:
            self._hurry.set()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def last_words(self, count: int) -> list[str]:
        """The last lines that the last process wrote."""
        return last_lines(self.invocation.log, count, self._life_began_at_byte)

    async def run(self) -> None:
        """Keep the container running until `stop`; returns when no process of it is left."""
        while not await self._stop_comes_within(self.life.start_at_s - time.monotonic()):
            log = self.invocation.log
            self._life_began_at_byte = size_of(log)
            try:
                process = await ContainerProcess.start(
                    self.invocation.command,
                    environment=self.invocation.environment,
                    folder=self.invocation.folder,
                    log=log,
                    watchdog=self._watchdog,
                )
            except StartError as error:
                self._become(self.life.exited(str(error), time.monotonic()))
                continue
            self._become(self.life.started(time.monotonic()))
            reason = await self._live(process)
            self._become(self.life.exited(reason, time.monotonic()))

    async def _live(self, process: ContainerProcess) -> str:
        """From start to end of one process; returns why it ended."""
        exited = asyncio.create_task(process.wait())
        probing = asyncio.create_task(self._probe_until_unhealthy())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({exited, probing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if exited.done():
                return exited.result()
            reason = ""
            if probing.done():
                reason = probing.result()
            # A drained gateway must not look ready to anyone who asks the runtime.
            self._on_change()
            process.terminate()
            hurry = asyncio.create_task(self._hurry.wait())
            await asyncio.wait({exited, hurry}, timeout=self.invocation.grace_s, return_when=asyncio.FIRST_COMPLETED)
            hurry.cancel()
            if not exited.done():
                process.kill()
            return reason or await exited
        finally:
            for task in (probing, stopping):
                task.cancel()
            process.kill()
            await exited

    async def _probe_until_unhealthy(self) -> str:
        """Ask every probe when it is due; returns why the container must be restarted."""
        asking: dict[asyncio.Task[None], Role] = {}
        try:
            while not self.life.unhealthy:
                for role in self.life.tracks.keys() - asking.values():
                    asking[asyncio.create_task(self._ask_when_due(role))] = role
                if not asking:
                    await asyncio.Event().wait()  # no probes: only the process's end matters
                done, _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    del asking[task]
                    task.result()
            return self.life.unhealthy
        finally:
            for task in asking:
                task.cancel()

    async def _ask_when_due(self, role: Role) -> None:
        track = self.life.tracks[role]
        await asyncio.sleep(max(0.0, track.due_s - time.monotonic()))
        answer = await ask(
            track.probe, self.invocation.address, self.invocation.environment, str(self.invocation.folder)
        )
        self._become(self.life.probed(role, answer.ok, answer.detail, time.monotonic()))

    def _become(self, life: Life) -> None:
        self.life = life
        self._on_change()

    async def _stop_comes_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._stopping.wait()
        return self._stopping.is_set()
