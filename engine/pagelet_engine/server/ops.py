"""The engine's one plain HTTP listener: probes and metrics, nothing else.

A GET is all it understands, of a request of bounded size and time; every answer closes the connection. That is what
kubelets and Prometheus need, and it keeps an HTTP framework out of the engine. However many connections are left open,
the next one is answered: the oldest makes room for it.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

MAX_REQUEST_BYTES = 16 * 1024
REQUEST_TIMEOUT_S = 10.0
MAX_CONNECTIONS = 256
"""More than the 100 that may wait to be accepted at once: a request that is whole is answered before it gets old."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


Routes = Mapping[str, Callable[[], Answer]]


async def serve_ops(address: str, port: int, routes: Routes) -> asyncio.Server:
    """Listen; raises OSError when the port cannot be had."""
    open_since: dict[asyncio.StreamWriter, None] = {}  # the oldest first

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(open_since) >= MAX_CONNECTIONS:
            oldest = next(iter(open_since))
            del open_since[oldest]
            oldest.transport.abort()
        open_since[writer] = None
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                writer.write(_response(await _answer(reader, routes)))
                await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            writer.transport.abort()  # A client that hangs up, dawdles or sends half a request gets no answer.
        finally:
            open_since.pop(writer, None)
            writer.close()

    return await asyncio.start_server(converse, address, port, limit=MAX_REQUEST_BYTES)


async def _answer(reader: asyncio.StreamReader, routes: Routes) -> Answer:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        return Answer(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, b"the request's head is too long\n")
    words = head.split(b"\r\n", 1)[0].split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        return Answer(HTTPStatus.BAD_REQUEST, b"wanted an HTTP/1.1 request\n")
    method, target, _ = words
    if method != b"GET":
        return Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"only GET is understood here\n")
    route = routes.get(target.split(b"?", 1)[0].decode("latin-1"))
    if route is None:
        return Answer(HTTPStatus.NOT_FOUND, f"found here: {', '.join(routes)}\n".encode())
    return route()


def _response(answer: Answer) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\n"
        f"Content-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + answer.body
