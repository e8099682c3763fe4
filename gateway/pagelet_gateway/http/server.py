"""One listener: takes connections until it is closed, then lets them finish. Knows no signals and no other listener."""

import asyncio
import contextlib
import logging
import socket
import time

from starlette.types import ASGIApp

from pagelet_gateway.http.connection import Connection
from pagelet_gateway.http.limits import HttpLimits
from pagelet_gateway.http.port import ConnectionMetrics, Port

_log = logging.getLogger(__name__)


class HttpServer:
    def __init__(self, app: ASGIApp, limits: HttpLimits, metrics: ConnectionMetrics) -> None:
        self._port: Port[Connection] = Port(app, limits, metrics)
        self._server: asyncio.Server | None = None

    async def start(self, listener: socket.socket, backlog: int) -> None:
        """Take connections from this socket, which is the server's from now on."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self._port), sock=listener, backlog=backlog)

    async def until_empty(self, limit_s: float) -> None:
        """Wait until no client has a connection any more, or time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._port.empty.wait()

    async def close(self, limit_s: float) -> None:
        """Stop listening, finish what is being answered within the limit, end."""
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._port.connections):
            connection.leave()
        deadline_s = time.monotonic() + limit_s
        await self.until_empty(limit_s)
        connections, answers = tuple(self._port.connections), tuple(self._port.tasks)
        if answers:  # also those whose clients left
            await asyncio.wait(answers, timeout=max(0.0, deadline_s - time.monotonic()))
        if connections:
            _log.error("%d connections are cut off: they did not end within %g s", len(connections), limit_s)
        for connection in connections:
            connection.abort()
        for task in answers:
            task.cancel()
        await asyncio.gather(*answers, return_exceptions=True)
