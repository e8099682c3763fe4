"""A pod whose ranks follow a leader in another pod: they are started, probes are answered, and it ends when one does.

Owns the processes and the listener for probes. There is no front here: clients talk to the leader's pod. Told to stop,
it gives the leader the time to drain: what runs there needs these ranks.
"""

import asyncio
import math
import signal
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from pagelet_api import names

from pagelet_engine.child_process import describe_exit
from pagelet_engine.log import say
from pagelet_engine.server.ops import Answer, serve_ops
from pagelet_engine.worker.ranks.processes import RankProcesses

LOOK_S = 0.1


class FollowingPod:
    """`commands` by rank. Construct and `run` it inside an event loop."""

    def __init__(
        self, commands: Mapping[int, Sequence[str]], address: str, ops_port: int, drain_timeout_s: float
    ) -> None:
        self._commands, self._drain_timeout_s = commands, drain_timeout_s
        self._address, self._ops_port = address, ops_port
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Until a signal, or the first end of a rank; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        routes = {names.LIVE_PATH: _running, names.READY_PATH: _running}
        try:
            ops = await serve_ops(self._address, self._ops_port, routes)
        except OSError as error:
            say(f"cannot listen on {self._address}:{self._ops_port} (--ops-port) for probes: {error.strerror}")
            return 1
        say(f"listening: probes on {self._address}:{ops.sockets[0].getsockname()[1]}")
        processes = RankProcesses(self._commands)
        try:
            return await self._watch(processes)
        finally:
            processes.stop()
            ops.close()

    async def _watch(self, processes: RankProcesses) -> int:
        stop_s = math.inf
        while (gone := processes.first_exit()) is None:
            now_s = time.monotonic()
            if now_s > stop_s:
                say("stopped: the leader's time to drain is up")
                return 0
            if self._stop.is_set() and stop_s == math.inf:
                say("stopping when the leader has drained")
                stop_s = now_s + self._drain_timeout_s
            await asyncio.sleep(LOOK_S)
        rank, code = gone
        if code == 0:
            say("stopped: the leader has ended")
            return 0
        say(f"rank {rank} {describe_exit(code)}: the ranks of this pod end with it")
        return 1


def _running() -> Answer:
    return Answer(HTTPStatus.OK, b"its ranks run\n")
