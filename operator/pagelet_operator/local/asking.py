"""Asks a probe's question of a running container: one HTTP request, one connection or one command.

Owns the sockets of probes; decides nothing (`probe.py` does). Plain asyncio streams, because a probe is a request line
and a status line, and an HTTP client would cost more to import than `pagelet up` costs to start.
"""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from pagelet_operator.local.probe import Exec, HttpGet, Probe, TcpSocket

MAX_ANSWER_BYTES = 10 * 1024  # as the kubelet reads
_WORDS_IN_JSON = ("phase", "message", "reason", "status", "detail", "error")


@dataclass(frozen=True, slots=True)
class Answer:
    ok: bool
    detail: str
    """One line: what was found; empty: nobody was there to ask."""


async def ask(probe: Probe, address: str, environment: Mapping[str, str], folder: str) -> Answer:
    """The answer of the container at `address`; never raises for what the container does or fails to do."""
    try:
        async with asyncio.timeout(probe.timeout_s):
            match probe.action:
                case HttpGet() as action:
                    return await _http_get(action, address)
                case TcpSocket(port):
                    _, writer = await asyncio.open_connection(address, port)
                    writer.close()
                    return Answer(True, f"port {port} accepts connections")
                case Exec(command):
                    return await _run(command, environment, folder)
    except TimeoutError:
        return Answer(False, f"no answer within {probe.timeout_s:g} s")
    except ConnectionRefusedError:
        return Answer(False, "")
    except (OSError, ValueError) as error:
        return Answer(False, _words_of(error))


async def _http_get(action: HttpGet, address: str) -> Answer:
    reader, writer = await asyncio.open_connection(address, action.port, limit=MAX_ANSWER_BYTES)
    try:
        # HTTP/1.0: the server closes when it has said all, and never answers in chunks.
        request = f"GET {action.path} HTTP/1.0\r\nHost: {address}:{action.port}\r\nUser-Agent: pagelet-probe\r\n\r\n"
        writer.write(request.encode("ascii"))
        await writer.drain()
        head, _, body = (await _read_answer(reader)).partition(b"\r\n\r\n")
    finally:
        writer.close()
    status_line = head.split(b"\r\n", 1)[0].decode("latin-1")
    fields = status_line.split(" ", 2)
    if len(fields) < 2 or not fields[0].startswith("HTTP/") or not fields[1].isdigit():
        return Answer(False, f"port {action.port} does not speak HTTP")
    status = int(fields[1])
    return Answer(200 <= status < 400, _first_words(body) or f"HTTP {status} from {action.path}")


async def _read_answer(reader: asyncio.StreamReader) -> bytes:
    """Everything up to the end or the limit."""
    answer = b""
    while len(answer) < MAX_ANSWER_BYTES and (piece := await reader.read(MAX_ANSWER_BYTES - len(answer))):
        answer += piece
    return answer


def _first_words(body: bytes) -> str:
    """What an answer's body says, in one line: a JSON object's telling field, or the first line of text."""
    text = body.decode("utf-8", "replace").strip()
    if text.startswith("{"):
        with suppress(ValueError):
            fields = json.loads(text)
            return next((str(fields[word]) for word in _WORDS_IN_JSON if fields.get(word)), "")
    return text.splitlines()[0][:200] if text else ""


async def _run(command: tuple[str, ...], environment: Mapping[str, str], folder: str) -> Answer:
    process = await asyncio.create_subprocess_exec(
        *command,
        env=dict(environment),
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return Answer(process.returncode == 0, _first_words(output) or f"exit code {process.returncode}")


def _words_of(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
