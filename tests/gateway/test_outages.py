"""Between the last engine that goes and the next that comes, and engines that vanish without a word."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from openai import APIError
from pagelet_api import inference_pb2 as pb

from .conftest import ANSWER, MODEL, OpenSite, Site, eventually

MESSAGES: list[Any] = [{"role": "user", "content": "Hi"}]


class Wire:
    """Forwards one TCP port to another until it is cut: bytes vanish then, nobody is told, as with a dead machine."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._whole = asyncio.Event()
        self._whole.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    def cut(self) -> None:
        self._whole.clear()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._whole.wait()
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._to)
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            task = asyncio.create_task(self._forward(source, sink))
            self._tasks.add(task)

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await source.read(65536):
                await self._whole.wait()
                sink.write(piece)
        sink.close()

    @contextlib.asynccontextmanager
    async def laid(self) -> AsyncIterator["Wire"]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def engine_behind_a_wire(site: Site) -> AsyncIterator[Wire]:
    """Nothing but the wire leads to the first engine."""
    async with Wire(site.engine.port).laid() as wire:
        site.addresses.clear()
        site.addresses.add(f"127.0.0.1:{wire.port}")
        await eventually(
            lambda: [link.address for link in site.gateway.engines.links if link.usable] == list(site.addresses),
            "the engine is reached by the wire alone",
        )
        yield wire


async def test_a_stream_whose_engine_vanishes_without_a_word_ends_with_an_error_in_time(open_site: OpenSite) -> None:
    async with open_site() as site, engine_behind_a_wire(site) as wire:
        site.engine.pause()
        asked = asyncio.create_task(site.openai.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True))
        await eventually(lambda: site.engine.running, "the request in the engine")
        site.engine.step()
        stream = await asked
        await stream.__anext__()
        wire.cut()
        # Here 0.5 s of silence and 1 s for an answer; in a cluster 10 s and 5 s.
        async with asyncio.timeout(4):
            with pytest.raises(APIError, match="was lost"):
                async for _ in stream:
                    pass


async def test_a_request_whose_engine_vanishes_before_its_first_token_is_answered_by_the_next(
    open_site: OpenSite,
) -> None:
    async with open_site(hold_s=10) as site, engine_behind_a_wire(site) as wire:
        site.engine.pause()
        asked = asyncio.create_task(site.chat())
        await eventually(lambda: site.engine.running, "the request in the engine")
        wire.cut()
        await site.until_usable(0)
        site.engine.resume()
        site.addresses.add(site.engine.address)
        response = await asked
        assert response.json()["choices"][0]["message"]["content"] == ANSWER


async def test_requests_wait_for_an_engine_while_the_last_has_only_just_gone(open_site: OpenSite) -> None:
    async with open_site(hold_s=10) as site:
        site.engine.pause()
        begun = asyncio.create_task(site.chat())
        await eventually(lambda: site.engine.running, "the request in the engine")
        await site.engine.die()
        await site.until_usable(0)
        new = [asyncio.create_task(site.chat(stream=stream)) for stream in (False, True)]
        site.engine.resume()
        await site.engine.start(site.engine.port)
        assert [(await asked).status_code for asked in (begun, *new)] == [200] * 3


async def test_a_request_that_a_draining_engine_refuses_waits_for_its_successor(open_site: OpenSite) -> None:
    async with open_site(hold_s=10) as site:
        site.engine.refusal = pb.RequestError(code=grpc.StatusCode.UNAVAILABLE.value[0], message="draining")
        site.engine.draining = True  # the refusal is the first that the gateway hears of it
        asked = asyncio.create_task(site.chat())
        await site.until_usable(0)
        site.engine.refusal = None
        await site.engine.restart()
        assert (await asked).status_code == 200


async def test_in_a_long_outage_requests_are_refused_at_once(open_site: OpenSite) -> None:
    async with open_site(hold_s=0.3) as site:
        await site.engine.die()
        await site.until_usable(0)
        loop = asyncio.get_running_loop()
        first_s = loop.time()
        assert (await site.chat()).status_code == 503
        assert loop.time() - first_s > 0.1, "it was held"
        second_s = loop.time()
        response = await site.chat()
        assert (response.status_code, response.json()["error"]["code"]) == (503, "engine_unavailable")
        assert loop.time() - second_s < 0.2, "the outage is old: nobody is held any more"
        await site.engine.start(site.engine.port)


async def test_a_client_that_leaves_while_its_request_waits_is_forgotten(open_site: OpenSite) -> None:
    async with open_site(hold_s=10) as site:
        site.engine.pause()
        asked = asyncio.create_task(site.chat())
        await eventually(lambda: site.engine.running, "the request in the engine")
        await site.engine.die()
        await site.until_usable(0)
        asked.cancel()
        await eventually(lambda: not site.gateway.in_flight, "nothing in flight")
        await site.engine.start(site.engine.port)
        await site.until_usable(1)
        site.engine.requests.clear()
        site.engine.resume()
        assert (await site.chat()).status_code == 200
        assert len(site.engine.requests) == 1


async def test_a_request_under_which_two_engines_go_away_is_not_given_to_a_third(open_site: OpenSite) -> None:
    async with open_site(3) as site:
        await site.until_usable(3)
        for engine in site.engines:
            engine.pause()
        asked = asyncio.create_task(site.chat())
        for number in (1, 2):
            await eventually(lambda: any(engine.running for engine in site.engines), f"the request in engine {number}")
            await next(engine for engine in site.engines if engine.running).die()
        response = await asked
        assert (response.status_code, response.json()["error"]["code"]) == (503, "engine_unavailable")
        assert sorted(len(engine.requests) for engine in site.engines) == [0, 1, 1]
        for engine in site.engines:
            if engine.requests:
                await engine.start(engine.port)
