"""Asks a probe's question of a running container: one HTTP request, one connection or one command.

Owns the sockets of probes; decides nothing (`probe.py` does). Plain asyncio streams, because a probe is a request line
and a status line, and an HTTP client would cost more to import than `pagelet up` costs to start.
"""

import asyncio
import json
import os
import signal
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


class _Unanswered(Exception):
    """The container gave no answer; the message says at what it failed."""


async def ask(probe: Probe, address: str, environment: Mapping[str, str], folder: str) -> Answer:
    """The answer of the container at `address`; never raises for what the container does or fails to do."""
    until_s = asyncio.get_running_loop().time() + probe.timeout_s
    try:
        match probe.action:
            case HttpGet() as action:
                return await _http_get(action, address, until_s, f"within {probe.timeout_s:g} s")
            case TcpSocket(port):
                _, writer = await _connect(address, port, until_s, f"within {probe.timeout_s:g} s")
                writer.close()
                return Answer(True, f"port {port} accepts connections")
            case Exec(command):
                async with asyncio.timeout_at(until_s):
                    return await _run(command, environment, folder)
    except TimeoutError:
        return Answer(False, f"its command did not end within {probe.timeout_s:g} s")
    except ConnectionRefusedError:
        return Answer(False, "")
    except _Unanswered as unanswered:
        return Answer(False, str(unanswered))
    except (OSError, ValueError) as error:
        return Answer(False, _words_of(error))


async def _connect(
    address: str, port: int, until_s: float, within: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Raises _Unanswered, and OSError as the system says it."""
    try:
        async with asyncio.timeout_at(until_s):
            return await asyncio.open_connection(address, port, limit=MAX_ANSWER_BYTES)
    except TimeoutError:
        # A port without a listener refuses at once: here, more connections wait than the container accepts.
        raise _Unanswered(f"port {port} accepted no connection {within}: too many wait there already") from None


async def _http_get(action: HttpGet, address: str, until_s: float, within: str) -> Answer:
    """Raises _Unanswered, and OSError as the system says it."""
    path, port = action.path, action.port
    reader, writer = await _connect(address, port, until_s, within)
    try:
        async with asyncio.timeout_at(until_s):
            # HTTP/1.0: the server closes when it has said all, and never answers in chunks.
            request = f"GET {path} HTTP/1.0\r\nHost: {address}:{port}\r\nUser-Agent: pagelet-probe\r\n\r\n"
            writer.write(request.encode("ascii"))
            await writer.drain()
            answer = await _read_answer(reader)
    except TimeoutError:
        raise _Unanswered(f"port {port} accepted the connection, but did not answer {path} {within}") from None
    except (ConnectionResetError, BrokenPipeError):
        raise _Unanswered(f"port {port} reset the connection before it had answered {path}") from None
    finally:
        writer.close()
    if not answer:
        raise _Unanswered(f"port {port} closed the connection without an answer to {path}")
    head, _, body = answer.partition(b"\r\n\r\n")
    fields = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
    if len(fields) < 2 or not fields[0].startswith("HTTP/") or not fields[1].isdecimal():
        raise _Unanswered(f"port {port} does not speak HTTP: it answered {answer[:40]!r}")
    status = int(fields[1])
    return Answer(200 <= status < 400, _first_words(body) or f"HTTP {status} from {path}")


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
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return Answer(process.returncode == 0, _first_words(output) or f"exit code {process.returncode}")


def _words_of(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
