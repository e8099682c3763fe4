"""A gateway that is told to stop: clients on connections that stay open are sent elsewhere without losing anything."""

import asyncio
import socket

import httpx

from .conftest import MODEL, OpenSite, eventually

BODY = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 200}


async def test_requests_on_open_connections_are_answered_and_told_to_go(open_site: OpenSite) -> None:
    async with open_site(linger_s=10) as site, httpx.AsyncClient(timeout=30) as idle:
        await idle.get(f"{site.url}/health")  # its connection stays open
        assert "connection" not in (await site.chat()).headers
        site.stop.set()
        await eventually(lambda: site.gateway.stopping, "the gateway stops")
        assert (await site.http.get(f"{site.ops_url}/ready")).status_code == 503
        response = await site.chat()
        assert (response.status_code, response.headers["connection"]) == (200, "close")
        assert (await idle.get(f"{site.url}/v1/models")).headers["connection"] == "close"
        await asyncio.wait_for(site.served, 5)  # no connection is left: it does not wait for more


async def test_an_answer_that_began_before_finishes_and_new_connections_are_refused_in_the_end(
    open_site: OpenSite,
) -> None:
    async with open_site(linger_s=0.05) as site:
        site.engine.pause()
        asked = asyncio.create_task(site.chat(stream=True))
        await eventually(lambda: site.engine.running, "the request in the engine")
        site.engine.step()
        site.stop.set()
        host, port = site.url.removeprefix("http://").split(":")

        def refuses() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex((host, int(port))) != 0

        await eventually(refuses, "the port is closed")
        assert site.engine.running, "the stream goes on"
        site.engine.resume()
        assert (await asked).text.endswith("data: [DONE]\n\n")
        await asyncio.wait_for(site.served, 5)
