"""Pieces of a body on their way to a client that reads, and to one that does not."""

import asyncio
from typing import Any

from pagelet_gateway.outlet import Outlet

from .conftest import eventually


class SlowServer:
    """ASGI's send of a server whose client does not read until it is told to."""

    def __init__(self) -> None:
        self.reads = asyncio.Event()
        self.sent: list[bytes] = []

    async def send(self, message: Any) -> None:
        await self.reads.wait()
        self.sent.append(message["body"])


async def test_what_has_to_wait_is_sent_later_and_in_order() -> None:
    server = SlowServer()
    outlet = Outlet(server.send)
    outlet.write_now(b"1")
    assert not outlet.is_free
    later = asyncio.create_task(outlet.write(b"2"))
    await asyncio.sleep(0)
    assert server.sent == []
    server.reads.set()
    await later
    assert outlet.is_free
    outlet.write_now(b"3")
    assert server.sent == [b"1", b"2", b"3"]


async def test_an_outlet_is_free_again_once_its_client_has_read() -> None:
    server = SlowServer()
    outlet = Outlet(server.send)
    outlet.write_now(b"1")
    server.reads.set()
    await eventually(lambda: outlet.is_free, "the piece is sent")
    outlet.write_now(b"2")
    assert server.sent == [b"1", b"2"]


async def test_a_closed_outlet_leaves_nothing_running() -> None:
    server = SlowServer()
    outlet = Outlet(server.send)
    outlet.write_now(b"1")
    outlet.close()
    await eventually(lambda: outlet.is_free, "the task has ended")
    assert server.sent == []
