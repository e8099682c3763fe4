"""A server with bounds of the test's choice on a loopback port, and a small application behind it."""

import asyncio
import contextlib
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop
from pagelet_gateway.http.limits import HttpLimits
from pagelet_gateway.http.server import HttpServer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that serves: what transports do at an end differs between loops."""
    return {"uvloop": uvloop.new_event_loop}


async def eventually(condition: Callable[[], Any], what: str, limit_s: float = 10.0) -> None:
    """Wait until the condition holds; says what it waited for when it does not."""
    deadline_s = asyncio.get_running_loop().time() + limit_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline_s, f"still waiting: {what}"
        await asyncio.sleep(0.005)


@dataclass
class CountedConnections:
    open: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def open_connections(self, count: int) -> None:
        self.open = count

    def refused_connections(self, reason: str) -> None:
        self.refused[reason] += 1


@dataclass
class App:
    """What the requests that came through looked like; `gate` holds answers of /wait back."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    seen: list[str] = field(default_factory=list)

    def asgi(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/wait", self.wait, methods=["GET", "POST"]),
                Route("/large", self.large),
                Route("/stream", self.stream),
                Route("/deaf", self.deaf, methods=["POST"]),
                Route("/{path:path}", self.echo, methods=["GET", "POST"]),
            ]
        )

    async def echo(self, request: Request) -> Response:
        self.seen.append(request.url.path)
        body = await request.body()
        return JSONResponse({"path": request.url.path, "query": request.url.query, "body": body.decode("latin-1")})

    async def wait(self, request: Request) -> Response:
        self.seen.append(request.url.path)
        await self.gate.wait()
        return PlainTextResponse("waited")

    async def deaf(self, request: Request) -> Response:
        """Reads no body."""
        return PlainTextResponse("early")

    async def large(self, request: Request) -> Response:
        return PlainTextResponse("x" * 2**26)

    async def stream(self, request: Request) -> Response:
        async def pieces() -> AsyncIterator[str]:
            for piece in ("one", "two", "three"):
                yield piece

        return StreamingResponse(pieces())


@dataclass
class Client:
    """A connection by hand."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next answer of stated length."""
        async with asyncio.timeout(20):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(head[0].split()[1]), headers, body

    async def ask(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        await self.send(data)
        return await self.answer()

    async def error(self) -> tuple[int, str]:
        """Status and code of an answer in OpenAI's error shape, after which the connection ends."""
        status, headers, body = await self.answer()
        assert headers["connection"] == "close"
        code: str = json.loads(body)["error"]["code"]
        assert await self.rest() == b""
        return status, code

    async def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        async with asyncio.timeout(20):
            return await self.reader.read()


@dataclass
class Served:
    app: App
    server: HttpServer
    metrics: CountedConnections
    port: int

    @contextlib.asynccontextmanager
    async def connect(self, address: str = "127.0.0.1") -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0), limit=2**22)
        try:
            yield Client(reader, writer)
        finally:
            writer.transport.abort()  # what it could not send is not waited for


OpenServer = Callable[..., contextlib.AbstractAsyncContextManager[Served]]


@pytest.fixture
def serve_http() -> OpenServer:
    @contextlib.asynccontextmanager
    async def opened(limits: HttpLimits | None = None) -> AsyncIterator[Served]:
        listener = socket.create_server(("127.0.0.1", 0))
        app, metrics = App(), CountedConnections()
        server = HttpServer(app.asgi(), limits or HttpLimits(), metrics)
        await server.start(listener, 100)
        try:
            yield Served(app, server, metrics, listener.getsockname()[1])
        finally:
            app.gate.set()
            await server.close(1.0)

    return opened
