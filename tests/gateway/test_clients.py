"""Clients that leave, read slowly or not at all: only their own request notices."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from openai import APIError

from .conftest import ANSWER, MODEL, OpenSite, Site, eventually

MESSAGES: list[Any] = [{"role": "user", "content": "Hi"}]
REQUEST = {"model": MODEL, "messages": MESSAGES, "ignore_eos": True, "stream": True}


@contextlib.asynccontextmanager
async def asked_by_hand(
    site: Site, *, receive_buffer: int | None = None, **fields: Any
) -> AsyncIterator[socket.socket]:
    """A chat request sent over a socket that nobody reads, unless the test does."""
    with socket.socket() as client:
        await _send(client, site, receive_buffer, fields)
        yield client


async def _send(client: socket.socket, site: Site, receive_buffer: int | None, fields: dict[str, Any]) -> None:
    if receive_buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.setblocking(False)
    host, port = site.url.removeprefix("http://").split(":")
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, (host, int(port)))
    body = json.dumps({**REQUEST, **fields}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    await loop.sock_sendall(client, head + body)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_that_leaves_frees_the_engine_at_once(open_site: OpenSite, stream: bool, begun: bool) -> None:
    async with open_site() as site:
        site.engine.pause()
        async with asked_by_hand(site, stream=stream):
            await eventually(lambda: site.engine.running, "the request in the engine")
            if begun:
                site.engine.step()
        # The engine stands still: it hears of it by the abort alone.
        await eventually(lambda: not site.engine.running, "the request is aborted")
        assert [id for id, _ in site.engine.aborts] == [site.engine.requests[0].request_id]
        metrics = (await site.http.get(f"{site.ops_url}/metrics")).text
        assert 'pagelet:gateway_requests_running{model_name="test-model"} 0.0' in metrics


async def test_a_client_that_leaves_early_takes_all_its_prompts_along(open_site: OpenSite) -> None:
    async with open_site() as site:
        site.engine.pause()
        asked = asyncio.create_task(site.complete(prompt=["a", "b", "c"], n=2))
        await eventually(lambda: len(site.engine.running) == 3, "three requests in the engine")
        asked.cancel()
        await eventually(lambda: len(site.engine.aborts) == 3, "all three are aborted")
        assert not site.engine.running


async def test_the_official_client_may_close_a_stream_midway(open_site: OpenSite) -> None:
    async with open_site() as site:
        stream = await site.openai.chat.completions.create(
            model=MODEL, messages=MESSAGES, stream=True, extra_body={"ignore_eos": True}
        )
        await stream.__anext__()
        await stream.close()
        await site.until_idle()
        assert (await site.chat()).status_code == 200


async def test_a_client_that_reads_too_slowly_is_cut_and_stalls_nobody(open_site: OpenSite) -> None:
    async with open_site(max_backlog=20) as site:
        answer = site.engine.script
        site.engine.script = lambda request, index: [5] * 10
        # What it does not read fills the sockets' buffers, then the gateway's; logprobs make the chunks large.
        async with asked_by_hand(site, receive_buffer=4096, logprobs=True, top_logprobs=8, n=16, max_tokens=2000):
            await eventually(lambda: site.engine.running, "the request in the engine")
            site.engine.script = answer
            for _ in range(3):
                response = await site.chat()
                assert response.json()["choices"][0]["message"]["content"] == ANSWER
            await eventually(lambda: not site.engine.running, "the request is aborted")
        metrics = (await site.http.get(f"{site.ops_url}/metrics")).text
        assert "pagelet:gateway_slow_clients_cut_total 1.0" in metrics


async def test_a_client_that_reads_in_gulps_gets_everything(open_site: OpenSite) -> None:
    async with open_site() as site:
        site.engine.script = lambda request, index: [5]
        received = b""
        async with asked_by_hand(site, receive_buffer=8192, max_tokens=300) as client:
            while not received.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"):
                data = await asyncio.get_running_loop().sock_recv(client, 1000)
                assert data, received[-200:]
                received += data
        assert received.count(b'"content":"') == 301


async def test_several_tokens_that_waited_go_out_in_order(open_site: OpenSite, tokenizer: Any) -> None:
    async with open_site() as site:
        site.engine.pause()
        asked = asyncio.create_task(site.chat(stream=True))
        await eventually(lambda: site.engine.running, "the request in the engine")
        while site.engine.running:
            site.engine.step()
        text = (await asked).text
        events = [json.loads(event.removeprefix("data: ")) for event in text.split("\n\n")[:-2]]
        assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == ANSWER


async def test_a_stop_lets_streams_finish_and_refuses_new_requests(open_site: OpenSite) -> None:
    async with open_site() as site:
        site.engine.pause()
        asked = asyncio.create_task(site.chat(stream=True))
        async with asked_by_hand(site, stream=False, max_tokens=3) as waiting:
            await eventually(lambda: len(site.engine.running) == 2, "both requests in the engine")
            site.engine.step()
            site.stop.set()
            await eventually(lambda: site.gateway.stopping, "the gateway stops")
            assert (await site.http.get(f"{site.ops_url}/ready")).status_code == 503
            with pytest.raises(httpx.ConnectError):
                await until_refused(site)
            assert not site.served.done()
            site.engine.resume()
            assert (await asked).text.endswith("data: [DONE]\n\n")
            assert (await asyncio.get_running_loop().sock_recv(waiting, 100)).startswith(b"HTTP/1.1 200")
        await site.served


async def until_refused(site: Site) -> None:
    async with httpx.AsyncClient() as client:
        while (await client.get(f"{site.url}/health")).status_code:
            await asyncio.sleep(0.01)


async def test_what_is_not_finished_by_the_drain_timeout_is_ended_with_an_error(open_site: OpenSite) -> None:
    async with open_site(drain_timeout_s=1) as site:
        site.engine.pause()
        stream = asyncio.create_task(collect(site))
        whole = asyncio.create_task(site.chat())
        await eventually(lambda: len(site.engine.running) == 2, "both requests in the engine")
        site.engine.step()
        site.stop.set()
        with pytest.raises(APIError, match="The gateway stops"):
            await stream
        assert (await whole).status_code == 503
        await site.served


async def collect(site: Site) -> list[Any]:
    stream = await site.openai.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
    return [chunk async for chunk in stream]
