"""What a probe finds when it is not answered as it should be: each in a sentence that is true."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from pagelet_operator.local.asking import Answer, ask
from pagelet_operator.local.probe import Exec, HttpGet, Probe, TcpSocket

from .conftest import free_port

ADDRESS = "127.0.0.1"
PATIENT_S = 20
Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def asked(action: HttpGet | TcpSocket | Exec, timeout_s: float = PATIENT_S) -> Answer:
    return await ask(Probe(action, timeout_s=timeout_s), ADDRESS, {}, "/")


@contextlib.asynccontextmanager
async def serving(behaviour: Behaviour) -> AsyncIterator[int]:
    """The port of a server that treats every connection like this, then closes it."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await behaviour(reader, writer)
        writer.close()

    server = await asyncio.start_server(converse, ADDRESS, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def answering(answer: bytes) -> Behaviour:
    async def behaviour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    return behaviour


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    await reader.read()


async def resetting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize(
    ("behaviour", "ok", "detail"),
    [
        (answering(b"HTTP/1.1 200 OK\r\n\r\nserving\n"), True, "serving"),
        (answering(b"HTTP/1.1 503 Service Unavailable\r\n\r\nloading the model\n"), False, "loading the model"),
        (answering(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"), False, "HTTP 503 from /ready"),
        (answering(b"SSH-2.0-x\r\n"), False, r"port {port} does not speak HTTP: it answered b'SSH-2.0-x\r\n'"),
        (answering(b""), False, "port {port} closed the connection without an answer to /ready"),
        (resetting, False, "port {port} reset the connection before it had answered /ready"),
    ],
)
async def test_what_a_port_answers_is_said_as_it_is(behaviour: Behaviour, ok: bool, detail: str) -> None:
    async with serving(behaviour) as port:
        assert await asked(HttpGet("/ready", port)) == Answer(ok, detail.replace("{port}", str(port)))


async def test_a_port_that_does_not_answer_is_told_from_one_that_accepts_nothing() -> None:
    async with serving(silent) as port:
        answer = await asked(HttpGet("/ready", port), timeout_s=0.2)
    assert answer == Answer(False, f"port {port} accepted the connection, but did not answer /ready within 0.2 s")
    with socket.create_server((ADDRESS, 0), backlog=0) as full, contextlib.ExitStack() as waiting:
        port = full.getsockname()[1]
        for _ in range(4):  # more than wait to be accepted
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex((ADDRESS, port))
        said = f"port {port} accepted no connection within 0.2 s: too many wait there already"
        assert await asked(HttpGet("/ready", port), timeout_s=0.2) == Answer(False, said)
        assert await asked(TcpSocket(port), timeout_s=0.2) == Answer(False, said)


async def test_nothing_is_said_where_nothing_listens() -> None:
    assert await asked(HttpGet("/ready", free_port())) == Answer(False, "")


async def test_a_command_that_does_not_end_is_said_to() -> None:
    assert await asked(Exec(("sleep", "60")), timeout_s=0.2) == Answer(False, "its command did not end within 0.2 s")
