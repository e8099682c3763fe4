"""A gateway as a process, and what must be true of it whatever a client sends: alive, small, and there for others."""

import asyncio
import json
import os
import resource
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pagelet_api.config import GatewayConfig

from .http_heads import FINE

STALL_S = 3.0
"""Generous, for a busy machine: what stalled used to stall for ten seconds and more."""
GROWTH_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Gateway:
    pid: int
    port: int
    ops_port: int

    def rss_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def num_files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def gateway(folder: Path, max_files: int = 4096) -> AsyncIterator[Gateway]:
    """Without engines. Afterwards: it is alive, as small as before, and logged no fault."""
    (folder / "gateway.json").write_text(GatewayConfig(model_name="m", engine_host="none").to_json())
    port, ops_port = _free_port(), _free_port()
    words = ("--config", folder / "gateway.json", "--http-port", port, "--ops-port", ops_port)
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pagelet_gateway", *map(str, words)),
            stderr=log,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (max_files, max_files)),
        )
    try:
        started = Gateway(process.pid, port, ops_port)
        async with asyncio.timeout(60):
            while not await _is_healthy(port):
                assert process.returncode is None, (folder / "log").read_text()
                await asyncio.sleep(0.05)
        for _ in range(20):  # what a first request loads is not growth
            await _is_healthy(port)
        before = started.rss_bytes()
        yield started
        assert process.returncode is None, (folder / "log").read_text()
        assert started.rss_bytes() - before < GROWTH_BYTES
        assert "Traceback" not in (folder / "log").read_text()
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 60)


async def _is_healthy(port: int) -> bool:
    try:
        return (await send(port, FINE)) == [200]
    except OSError:
        return False


@asynccontextmanager
async def unnoticed_by_others(gateway: Gateway) -> AsyncIterator[None]:
    """What happens meanwhile stalls no other client, on neither port."""
    worst_s, over = 0.0, asyncio.Event()

    async def ask() -> None:
        nonlocal worst_s
        while not over.is_set():
            for port in (gateway.port, gateway.ops_port):
                began_s = asyncio.get_running_loop().time()
                assert await send(port, FINE) == [200]
                worst_s = max(worst_s, asyncio.get_running_loop().time() - began_s)
            await asyncio.sleep(0.02)

    asking = asyncio.create_task(ask())
    try:
        yield
    finally:
        over.set()
        await asking
    assert worst_s < STALL_S, f"another client waited {worst_s:.2f} s"


async def send(port: int, data: bytes, silence_s: float = 30.0, piece_bytes: int = 2**18) -> list[int]:
    """The statuses of all answers, up to the end of the connection or to a silence."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = bytearray()
    sending = asyncio.create_task(_send(writer, data, piece_bytes))
    try:
        while True:
            async with asyncio.timeout(silence_s):
                piece = await reader.read(2**16)
            if not piece:
                break
            received += piece
    except (TimeoutError, ConnectionResetError):
        pass
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        writer.transport.abort()
    return statuses(bytes(received))


async def _send(writer: asyncio.StreamWriter, data: bytes, piece_bytes: int) -> None:
    for start in range(0, len(data), piece_bytes):
        writer.write(data[start : start + piece_bytes])
        await writer.drain()


def statuses(received: bytes) -> list[int]:
    """Of answers one after another, each with a length; one that is an error has OpenAI's shape."""
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:])
        assert lines[0].startswith("http/1.1 "), received[:100]
        found.append(int(lines[0].split()[1]))
        length = int(headers.get("content-length", "0"))
        if found[-1] >= 400:
            assert json.loads(rest[:length])["error"].keys() == {"message", "type", "param", "code"}
        received = rest[length:]
    return found
