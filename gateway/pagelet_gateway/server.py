"""Runs a gateway: its two listeners, its background work, and its end, in which streams in flight finish."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import uvicorn
from pagelet_api.openai.errors import unavailable
from starlette.types import ASGIApp

from pagelet_gateway.app import main_app, ops_app
from pagelet_gateway.gateway import Gateway
from pagelet_gateway.readiness import Readiness

_log = logging.getLogger(__name__)

_STALLED_CLIENT_MS = 60_000
_KEEP_ALIVE_S = 75
_LAST_WORDS_S = 2
_POLL_S = 0.02

LINGER_S = 2.0
"""While clients still have connections open at SIGTERM, requests on them are answered for this long, each answer
closing its connection. One that is closed while a request is on its way is a failed request for somebody."""


class ListenError(Exception):
    """A port that cannot be had."""


def listen(address: str, port: int) -> socket.socket:
    """A listening socket. Raises ListenError with the one line to show."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit both. A token must not wait until the one before is acknowledged (asyncio sees to that
        # only for sockets that name their protocol), and a client that acknowledges nothing is closed in the end.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STALLED_CLIENT_MS)
        listener.bind((address, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise ListenError(f"cannot listen on {address}:{port}: {error.strerror}; free it, or choose another") from error
    return listener


@dataclass(frozen=True, slots=True)
class Listeners:
    http: socket.socket
    ops: socket.socket


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, because signals belong to the process, which has two servers; and without
    its clock, because an idle gateway should sleep."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._leaving = asyncio.Event()

    async def let_go(self, limit_s: float) -> None:
        """Wait until no client has a connection any more, or time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while self.server_state.connections:  # noqa: ASYNC110 (uvicorn tells nobody)
                    await asyncio.sleep(_POLL_S)

    def leave(self) -> None:
        """Stop listening, finish what is in flight, end."""
        self.should_exit = True
        self._leaving.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        await self._leaving.wait()


def _server(app: ASGIApp, drain_s: int) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,  # the clock's; each answer gets its own
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=drain_s,
        )
    )


async def serve(gateway: Gateway, listeners: Listeners, stop: asyncio.Event, linger_s: float = LINGER_S) -> None:
    """Serve until `stop` is set, then let clients go, finish what is in flight, at most drain_timeout_s, and return.

    Raises what ended a part that should have gone on.
    """
    readiness = Readiness(gateway)
    drain_s = gateway.config.drain_timeout_s
    main = _server(main_app(gateway, readiness), drain_s + _LAST_WORDS_S)
    ops = _server(ops_app(gateway, readiness), _LAST_WORDS_S)
    main_task = asyncio.create_task(main.serve([listeners.http]), name="main listener")
    ops_task = asyncio.create_task(ops.serve([listeners.ops]), name="ops listener")
    engines_task = asyncio.create_task(gateway.engines.run(), name="engines")
    readiness_task = asyncio.create_task(readiness.run(), name="readiness")
    readiness_task.add_done_callback(_raise_fault)
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({stopped, main_task, ops_task, engines_task}, return_when=asyncio.FIRST_COMPLETED)
        gateway.stopping = True
        if gateway.in_flight:
            _log.info("stopping: %d answers in flight have %d s to finish", len(gateway.in_flight), drain_s)
        last_words = asyncio.get_running_loop().call_later(
            drain_s, gateway.end_all, unavailable("The gateway stops. Send the request again.", 1, "gateway_stopping")
        )
        await main.let_go(min(linger_s, drain_s))
        main.leave()
        await main_task
        last_words.cancel()
        ops.leave()
        await ops_task
        if not stop.is_set():
            await engines_task
            raise RuntimeError("a listener ended by itself")
    finally:
        tasks = (stopped, readiness_task, engines_task, main_task, ops_task)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _raise_fault(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (fault := task.exception()) is not None:
        _log.error("the readiness probe ended by a fault; this gateway will not become ready", exc_info=fault)
