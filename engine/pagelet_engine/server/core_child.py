"""The core as a child process: started at once, its log passed on, its end explained.

Owns the process, its end of the pipe's descriptor, and the last lines it said. Refuses to know what the core does.
"""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pagelet_engine import log

_TAIL_BYTES = 2048
_RELAY_BYTES = 1 << 16

THREAD_POLICY = {"GOMP_SPINCOUNT": "10000"}
"""Threads that wait for each other spin for microseconds, then sleep. Sleeping at once makes steps of many small ops
1.5 to 2 times as long; spinning on, beside another busy process, makes them 14 times as long."""


class CoreChild:
    """A started core. Whoever starts one must `stop` it."""

    def __init__(self, command: Sequence[str]) -> None:
        """Run `command --pipe N`, where descriptor N is the core's end of a new pipe; `pipe` is ours."""
        self.pipe, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            self._process = subprocess.Popen(
                [*command, "--pipe", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=THREAD_POLICY | os.environ,
            )
        self._tail = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def last_log(self) -> str:
        """The last line that the core said, or nothing."""
        lines = self._tail.replace(b"\r", b"\n").decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    async def relay_log(self) -> None:
        """Pass the core's standard error on, byte for byte, until it ends; remember the end of it."""
        stderr = self._process.stderr
        assert stderr is not None
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), stderr)
        while piece := await reader.read(_RELAY_BYTES):
            self._tail = (self._tail + piece)[-_TAIL_BYTES:]
            log.pass_on(piece)

    async def wait(self, patience_s: float) -> int:
        """The exit code, negative for a signal; a core that has not ended in time is killed."""
        try:
            return await asyncio.to_thread(self._process.wait, patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return await asyncio.to_thread(self._process.wait)

    def kill(self) -> None:
        """End the core now; harmless when it has ended."""
        self._process.kill()
        self._process.wait()


def core_arguments(model_dir: Path, config_file: Path, started_s: float, ranks_port: int) -> list[str]:
    """`started_s` is when this engine started, on the monotonic clock; on `ranks_port`, ranks of other pods find it."""
    arguments = ["--model", str(model_dir), "--config", str(config_file)]
    return [*arguments, "--started-s", str(started_s), "--ranks-port", str(ranks_port)]


def core_command(model_dir: Path, config_file: Path, started_s: float, ranks_port: int) -> list[str]:
    """The command of the real core."""
    arguments = core_arguments(model_dir, config_file, started_s, ranks_port)
    return [sys.executable, "-m", "pagelet_engine.server.core_process", *arguments]
