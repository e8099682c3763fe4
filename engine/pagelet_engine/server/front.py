"""The front's life: it binds, waits for the core, serves, drains, and says in one line why it ended.

Owns the core's process and the listeners. Refuses to import torch, and to know what a step is.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from pagelet_api import inference_pb2 as pb
from pagelet_api import names
from pagelet_api.config import EngineConfig
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from pagelet_engine.cgroup import Cgroup
from pagelet_engine.child_process import describe_exit
from pagelet_engine.log import MAX_SENTENCE, say
from pagelet_engine.server import pipe_pb2 as pipe
from pagelet_engine.server.bounds import Bounds
from pagelet_engine.server.core_child import CoreChild
from pagelet_engine.server.core_link import CoreLink
from pagelet_engine.server.core_status import CoreStatus
from pagelet_engine.server.drain_call import DrainCall
from pagelet_engine.server.grpc_server import GrpcServer, PortError, port_error
from pagelet_engine.server.health import Health
from pagelet_engine.server.in_flight import InFlight
from pagelet_engine.server.measures import Measures
from pagelet_engine.server.messages import MAX_SMALL_MESSAGE_BYTES, max_request_bytes
from pagelet_engine.server.metrics import EngineCollector, new_registry
from pagelet_engine.server.ops import Answer, serve_ops
from pagelet_engine.server.refusal import Code
from pagelet_engine.server.service import EngineService

HEALTH_INTERVAL_S = 2.0
GOODBYE_S = 5.0
"""How long clients may take to read their last messages, and the core to exit once asked."""

_RPCS_OF_REQUESTS = ("Generate", "Session")

SAME_SIGNAL_S = 1.0
"""A terminal signals a whole group, and a runtime then forwards what it got: so soon, a second signal is the first."""


@dataclass(frozen=True, slots=True)
class Listen:
    address: str
    grpc_port: int
    ops_port: int


class Front:
    """One engine, from a core just started to an exit code. Construct and `run` it inside an event loop."""

    def __init__(self, child: CoreChild, config: EngineConfig, model_dir: Path, listen: Listen) -> None:
        self._child = child
        self._config = config
        self._listen = listen
        self._status = CoreStatus(config.step_timeout_s, time.monotonic)
        self._link = CoreLink(self._on_frame)
        measures = Measures()
        bounds = Bounds(max_requests=2 * (config.max_queued_requests + config.max_num_seqs))
        self._in_flight = InFlight(self._link, measures, time.monotonic, bounds)
        self._drain_call = DrainCall(time.monotonic)
        service = EngineService(self._in_flight, lambda: self._status.model, model_dir, self._drain_call.begin)
        self._grpc = GrpcServer(service, self._max_bytes)
        self._registry = new_registry(
            EngineCollector(
                config.model_name, measures, lambda: self._in_flight.load, lambda: self._status.model or pb.ModelInfo()
            )
        )
        self._stop = asyncio.Event()
        self._signalled_s = 0.0
        self._ready = asyncio.Event()
        self._cgroup = Cgroup()
        self._oom_kills_before = self._cgroup.oom_kills()

    async def run(self) -> int:
        """Serve until a signal or the core's end; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        await self._link.join(self._child.pipe)
        log = asyncio.create_task(self._child.relay_log())
        try:
            await self._bind()
        except PortError as error:
            self._child.kill()
            say(str(error))
            return 1
        health = asyncio.create_task(self._show_health())
        await _first(self._stop.wait(), self._link.closed.wait())
        if not self._link.closed.is_set():
            await self._drain()
        health.cancel()
        # Asked to stop, with nothing in flight, it does not matter who left first: a terminal's Ctrl-C reaches both.
        nothing_lost = self._stop.is_set() and not len(self._in_flight)
        return await self._mourn(log) if self._link.closed.is_set() and not nothing_lost else await self._leave()

    # ---- the core --------------------------------------------------------------------------------------------------

    def _on_frame(self, frame: pipe.CoreFrame) -> None:
        self._status.heard()
        match frame.WhichOneof("frame"):
            case "step":
                self._in_flight.deliver(frame.step)
            case "ready":
                self._status.model = frame.ready.model
                self._in_flight.begin(frame.ready.load)
                self._ready.set()
            case "fatal":
                self._status.last_words = frame.fatal.message

    # ---- listening -------------------------------------------------------------------------------------------------

    async def _bind(self) -> None:
        address, grpc_port, ops_port = self._listen.address, self._listen.grpc_port, self._listen.ops_port
        routes = {
            names.LIVE_PATH: self._live,
            names.READY_PATH: self._ready_to_serve,
            names.METRICS_PATH: lambda: Answer(HTTPStatus.OK, generate_latest(self._registry), CONTENT_TYPE_LATEST),
        }
        try:
            ops = await serve_ops(address, ops_port, routes)
        except OSError as error:
            raise PortError(port_error("probes and metrics", address, ops_port, "--ops-port")) from error
        grpc_port = await self._grpc.start(address, grpc_port)
        say(f"listening: gRPC on {address}:{grpc_port}, probes and metrics on {address}:{_port_of(ops)}")

    def _live(self) -> Answer:
        health = self._health()
        return _probe(health.alive, health.reason)

    def _ready_to_serve(self) -> Answer:
        health = self._health()
        return _probe(health.ready, health.reason)

    def _health(self) -> Health:
        forgotten_s = 0.0 if self._stop.is_set() else self._drain_call.forgotten_s(len(self._in_flight))
        return self._status.health(self._in_flight.load, forgotten_s)

    def _max_bytes(self, rpc: str) -> int:
        """Of a message of the RPC."""
        return max_request_bytes(self._status.model) if rpc in _RPCS_OF_REQUESTS else MAX_SMALL_MESSAGE_BYTES

    async def _show_health(self) -> None:
        """Keep gRPC health as it is: look when the core gets ready, and again and again."""
        while True:
            await self._grpc.show(self._health().ready)
            waiting = self._ready.wait() if self._status.model is None else asyncio.sleep(HEALTH_INTERVAL_S)
            await waiting

    # ---- the end ---------------------------------------------------------------------------------------------------

    def _on_signal(self, number: int) -> None:
        now_s = time.monotonic()
        if not self._stop.is_set():
            self._stop.set()
            self._signalled_s = now_s
        elif now_s - self._signalled_s > SAME_SIGNAL_S:
            self._child.kill()
            os._exit(128 + number)

    async def _drain(self) -> None:
        """Finish what runs, for as long as the configuration allows."""
        self._in_flight.drain()
        await self._grpc.show(serving=False)
        say(f"draining: {len(self._in_flight)} requests run; a second signal ends the engine at once")
        await _first(
            self._in_flight.wait_until_empty(), self._link.closed.wait(), asyncio.sleep(self._config.drain_timeout_s)
        )

    async def _leave(self) -> int:
        """The good end."""
        cut_short = self._in_flight.end(Code.UNAVAILABLE, "the engine stops: its time to drain is up")
        await self._grpc.stop(GOODBYE_S)
        self._link.close()
        await self._child.wait(GOODBYE_S if self._status.model else 0)  # one that loads does not listen yet
        say("stopped" + (f"; {cut_short} requests were cut short" if cut_short else ""))
        return 0

    async def _mourn(self, log: "asyncio.Task[None]") -> int:
        """The core's end is the engine's: tell the clients, then one line that says why."""
        code = await self._child.wait(GOODBYE_S)
        await asyncio.wait([log], timeout=GOODBYE_S)  # a rank that a device holds on to may keep it open
        requests = len(self._in_flight)
        last_words = f": {self._status.last_words}" if self._status.last_words else ""
        self._in_flight.end(Code.UNAVAILABLE, f"the engine's core {describe_exit(code)}{last_words}"[:MAX_SENTENCE])
        await self._grpc.stop(GOODBYE_S / 5)
        if self._status.model is None and self._status.last_words:
            say(self._status.last_words)
        else:
            where = f"after step {self._in_flight.load.step}" if self._status.model else "while it loaded the model"
            why = (
                self._out_of_memory() or f"it last said: {self._status.last_words or self._child.last_log or 'nothing'}"
            )
            say(f"the core {describe_exit(code)} {where}, {requests} requests in flight; {why}")
        return 1

    def _out_of_memory(self) -> str:
        """A sentence if the kernel has killed somebody in this container for its memory."""
        if self._cgroup.oom_kills() <= self._oom_kills_before:
            return ""
        limit_mib = (self._cgroup.memory_limit_bytes() or 0) >> 20
        return (
            f"out of memory: the container's limit is {limit_mib} MiB; raise resources.limits.memory, or lower "
            "kvCacheMemory, maxNumBatchedTokens or maxNumSeqs"
        )


def _probe(good: bool, reason: str) -> Answer:
    return Answer(HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, f"{reason}\n".encode())


def _port_of(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


async def _first(*waiting: Awaitable[object]) -> None:
    tasks = [asyncio.ensure_future(one) for one in waiting]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
