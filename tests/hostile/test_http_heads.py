"""Odd HTTP heads against a gateway as a process: each is answered as it should be, and no other client notices.

Refuses to know engines: what is sent here never gets as far.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from .gateway_process import GROWTH_BYTES, gateway, send, unnoticed_by_others
from .http_heads import CASES, FINE, GET, HOST, POST

SILENCE_S = 0.25
"""A connection that is silent for as long waits for more: what was sent announces a body, or is no whole head."""
MAX_FILES = 320
"""Of which the gateway keeps 256 for everything but the connections of its public port."""
REFUSALS = {400, 405, 408, 413, 414, 417, 431, 501, 505}


async def test_each_odd_head_gets_its_answer_and_no_other_client_notices(tmp_path: Path) -> None:
    assert len(CASES) >= 200
    wrong: dict[str, list[int]] = {}

    async def check(name: str, piece_bytes: int) -> None:
        found = await send(served.port, CASES[name].sent, piece_bytes=piece_bytes)
        if tuple(found) != CASES[name].statuses:
            wrong[name] = found

    async with gateway(tmp_path) as served, unnoticed_by_others(served):
        calls: list[Callable[[], Awaitable[None]]] = [lambda name=name: check(name, 2**18) for name in CASES]  # type: ignore[misc]
        calls += [lambda name=name: check(name, 61) for name, case in CASES.items() if len(case.sent) < 500]  # type: ignore[misc]
        await _few_at_once(calls)
    assert not wrong


@pytest.mark.parametrize("count", [150, pytest.param(5000, marks=pytest.mark.nightly)])
async def test_mutated_requests_are_answered_refused_or_waited_for(tmp_path: Path, count: int) -> None:
    numbers = random.Random(count)
    parts = [case.sent for case in CASES.values() if len(case.sent) < 20_000]
    sent = [_mutated(numbers.choice(parts), parts, numbers) for _ in range(count)]
    odd: list[tuple[bytes, list[int]]] = []

    async def check(data: bytes) -> None:
        found = await send(served.port, data, SILENCE_S, piece_bytes=numbers.choice([7, 100, 2**18]))
        if not set(found) <= {200, 404, *REFUSALS}:
            odd.append((data, found))

    async with gateway(tmp_path) as served, unnoticed_by_others(served):
        await _few_at_once([lambda data=data: check(data) for data in sent])  # type: ignore[misc]
    assert not odd


def _mutated(data: bytes, parts: list[bytes], numbers: random.Random) -> bytes:
    for _ in range(numbers.randint(1, 4)):
        at = numbers.randrange(len(data) + 1)
        match numbers.randrange(6):
            case 0:
                data = data[:at] + numbers.randbytes(numbers.randint(1, 4)) + data[at:]
            case 1:
                data = data[:at] + data[at + numbers.randint(1, 8) :]
            case 2:
                data = (
                    data[:at] + numbers.choice([b"\r\n", b"\r", b"\n", b" ", b":", b"\x00", b"0\r\n\r\n"]) + data[at:]
                )
            case 3:
                data = data[:at] + numbers.choice(parts)
            case 4:
                data = data[:at] + data[at : at + 20] * numbers.randint(2, 2000) + data[at:]
            case _:
                lines = data.split(b"\r\n")
                numbers.shuffle(lines)
                data = b"\r\n".join(lines)
    return data


async def test_a_flood_sent_ahead_of_its_answers_makes_the_gateway_no_larger(tmp_path: Path) -> None:
    requests = GET.replace(b"\r\n", b"\r\n" + HOST + b"\r\n") * 20_000
    async with gateway(tmp_path) as served, unnoticed_by_others(served):
        clients = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(8)]
        before = served.rss_bytes()
        for _, writer in clients:
            writer.write(requests)
        for reader, _ in clients:  # they answer a little, and nobody reads on
            await reader.readexactly(1000)
        assert served.rss_bytes() - before < GROWTH_BYTES
        for _, writer in clients:
            writer.transport.abort()


async def test_half_open_connections_lock_no_client_out_of_either_port(tmp_path: Path) -> None:
    begun = [b"", b"GET /he", GET + HOST, POST + HOST + b"Content-Length: 9\r\n\r\n", b"nonsense\r\n"]
    async with gateway(tmp_path, max_files=MAX_FILES) as served, unnoticed_by_others(served):
        half_open = []
        for number in range(3 * MAX_FILES):
            address = f"127.0.0.{2 + number % 8}"
            _, writer = await asyncio.open_connection("127.0.0.1", served.port, local_addr=(address, 0))
            writer.write(begun[number % len(begun)])
            half_open.append(writer)
        assert await send(served.port, FINE) == [200]
        assert await send(served.ops_port, FINE) == [200]
        assert served.num_files() < MAX_FILES
        for writer in half_open:
            writer.transport.abort()


async def _few_at_once(calls: list[Callable[[], Awaitable[None]]]) -> None:
    gate = asyncio.Semaphore(16)

    async def one(call: Callable[[], Awaitable[None]]) -> None:
        async with gate:
            await call()

    await asyncio.gather(*(one(call) for call in calls))
