"""One container's process on this machine: started in a group of its own, ended by SIGTERM, a grace period and SIGKILL.

Owns the process group and its log file. Knows no pods, no probes and no restarts.
"""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from pagelet_operator.local.watchdog import Watchdog


class StartError(OSError):
    """The command could not be executed, or its log not be opened; the message names it."""


class ContainerProcess:
    """A running process group. Complete when `start` returns; over when `wait` does."""

    def __init__(self, process: asyncio.subprocess.Process, watchdog: Watchdog) -> None:
        self._process = process
        self._watchdog = watchdog

    @classmethod
    async def start(
        cls, command: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: Path, watchdog: Watchdog
    ) -> Self:
        """Run `command` in `folder`; standard output and error are appended to `log`. Raises StartError.

        The log is the process's own file, not a pipe: a slow terminal can never hold a container up.
        """
        try:
            output = log.open("ab")
        except OSError as error:
            raise StartError(f"cannot open its log {log}: {error.strerror}") from error
        with output:
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    env=dict(environment),
                    cwd=folder,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            except OSError as error:
                raise StartError(f"cannot run {command[0]}: {error.strerror}") from error
        watchdog.guard(process.pid)
        return cls(process, watchdog)

    async def wait(self) -> str:
        """Wait for the main process's end, end what is left of its group, and say in words how it ended."""
        code = await self._process.wait()
        self.kill()
        self._watchdog.release(self._process.pid)
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exit code {code}"

    def terminate(self) -> None:
        """Ask the main process to end, as a container's first process is asked."""
        with suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """End the whole group at once."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


def last_lines(log: Path, count: int, from_byte: int = 0) -> list[str]:
    """The last `count` lines written to `log` after `from_byte`; a progress bar counts as its last state.

    None where the log cannot be read: what it says is worth a line to a person, and not the service.
    """
    tail_bytes = 64 * 1024
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(from_byte, size - tail_bytes))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    lines = [line.rstrip("\r").rsplit("\r", 1)[-1].rstrip() for line in text.split("\n")]
    return [line for line in lines if line][-count:]


def size_of(log: Path) -> int:
    """In bytes; 0 where there is none to be read."""
    try:
        return log.stat().st_size
    except OSError:
        return 0
