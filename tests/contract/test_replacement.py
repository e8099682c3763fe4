"""What clients see while pods are replaced, drained and killed under a steady load: real processes, real sockets."""

import asyncio
import contextlib
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from .pods import MODEL, Cluster, Pod, cluster, eventually

CLIENTS = 8
TOKENS = 60
"""Of an answer: some 0.3 s on an engine that is slow on purpose."""


@dataclass
class Load:
    """Streaming clients, each asking again and again, over connections that they keep open."""

    answers: Counter[str] = field(default_factory=Counter)
    """How requests ended: "whole", or what went wrong."""

    async def one(self, pods: Cluster, http: httpx.AsyncClient) -> None:
        try:
            self.answers[await ask(http, pods.gateway_url())] += 1
        except httpx.HTTPError as error:
            self.answers[repr(error)] += 1

    async def client(self, pods: Cluster) -> None:
        async with httpx.AsyncClient(timeout=60) as http:
            while True:
                await self.one(pods, http)

    async def more(self, number: int) -> None:
        """Wait for that many answers from now on."""
        wanted = self.answers.total() + number
        await eventually(lambda: self.answers.total() >= wanted, lambda: f"{number} more answers: {self.answers}")

    def assert_all_whole(self) -> None:
        assert set(self.answers) == {"whole"}, self.answers


async def ask(http: httpx.AsyncClient, url: str) -> str:
    """Returns "whole", or what is wrong with the answer."""
    body = {"model": MODEL, "prompt": "Hello", "max_tokens": TOKENS, "stream": True, "ignore_eos": True}
    async with http.stream("POST", f"{url}/v1/completions", json=body) as answer:
        text = (await answer.aread()).decode()
    if answer.status_code != 200:
        return f"{answer.status_code} {text}"
    events = text.split("\n\n")
    if events[-2:] != ["data: [DONE]", ""]:
        return f"cut short: {events[-3:]}"
    last = json.loads(events[-3].removeprefix("data: "))
    if "error" in last:
        return f"error in the stream: {last['error']['message']}"
    return "whole" if last["choices"][0]["finish_reason"] == "length" else f"another end: {last}"


@contextlib.asynccontextmanager
async def running(folder: Path, engines: int, gateways: int) -> AsyncIterator[tuple[Cluster, list[Pod], list[Pod]]]:
    async with cluster(folder) as pods:
        of_engine = [start_slow_engine(pods) for _ in range(engines)]
        of_gateway = [pods.start_gateway() for _ in range(gateways)]
        await pods.until_ready(*of_engine, *of_gateway)
        yield pods, of_engine, of_gateway


@contextlib.asynccontextmanager
async def under_load(pods: Cluster) -> AsyncIterator[Load]:
    load = Load()
    clients = [asyncio.create_task(load.client(pods)) for _ in range(CLIENTS)]
    try:
        await load.more(CLIENTS)
        yield load
        await load.more(2 * CLIENTS)
    finally:
        for client in clients:
            client.cancel()
        ended = await asyncio.gather(*clients, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended


def start_slow_engine(pods: Cluster) -> Pod:
    engine = pods.start_engine()
    engine.switch("slow")
    return engine


async def test_no_request_fails_while_two_engines_and_two_gateways_are_replaced_one_by_one(tmp_path: Path) -> None:
    async with running(tmp_path, engines=2, gateways=2) as (pods, engines, gateways), under_load(pods) as load:
        for old in engines:
            await pods.until_ready(start_slow_engine(pods))
            old.terminate()
            assert await old.end() == 0
            await load.more(CLIENTS)
        for old in gateways:
            await pods.until_ready(pods.start_gateway())
            old.terminate()
            assert await old.end() == 0
            await load.more(CLIENTS)
    load.assert_all_whole()


async def test_no_request_fails_while_two_engines_are_replaced_in_place(tmp_path: Path) -> None:
    async with running(tmp_path, engines=2, gateways=2) as (pods, engines, _), under_load(pods) as load:
        for old in engines:
            old.terminate()
            assert await old.end() == 0
            await load.more(CLIENTS)
            await pods.until_ready(start_slow_engine(pods))
            await load.more(CLIENTS)
    load.assert_all_whole()


async def test_no_request_fails_while_the_only_engine_has_a_gap_of_seconds(tmp_path: Path) -> None:
    async with running(tmp_path, engines=1, gateways=1) as (pods, engines, _), under_load(pods) as load:
        engines[0].terminate()
        assert await engines[0].end() == 0
        await pods.until_ready(start_slow_engine(pods))
    load.assert_all_whole()


@pytest.mark.parametrize("victim", ["front", "core"])
async def test_a_killed_engine_costs_only_streams_that_had_begun_on_it(victim: str, tmp_path: Path) -> None:
    async with running(tmp_path, engines=2, gateways=2) as (pods, engines, _), under_load(pods) as load:
        dying = engines[0]
        if victim == "front":
            dying.kill()
        else:
            os.kill(dying.core_pid(), signal.SIGKILL)
        await dying.end()
        await load.more(2 * CLIENTS)
    cut = [end for end in load.answers if end != "whole"]
    assert load.answers["whole"] > 2 * CLIENTS
    assert all(end.startswith("error in the stream: the engine") for end in cut), load.answers
    assert sum(load.answers[end] for end in cut) <= CLIENTS


async def test_requests_without_a_token_survive_the_death_of_their_engine(tmp_path: Path) -> None:
    async with (
        running(tmp_path, engines=2, gateways=1) as (pods, engines, gateways),
        httpx.AsyncClient(timeout=60) as http,
    ):
        for engine in engines:
            engine.switch("hold")
        asked = [asyncio.create_task(ask(http, pods.gateway_url())) for _ in range(CLIENTS)]
        await pods.until_answering(gateways[0], CLIENTS)
        engines[0].kill()
        await engines[0].end()
        engines[1].switch("hold", on=False)
        assert Counter(await asyncio.gather(*asked)) == {"whole": CLIENTS}


async def test_a_gateway_without_engines_refuses_at_once_and_stays_ready(tmp_path: Path) -> None:
    async with (
        running(tmp_path, engines=1, gateways=1) as (pods, engines, gateways),
        httpx.AsyncClient(timeout=60) as http,
    ):
        engines[0].kill()
        await engines[0].end()
        assert (await ask(http, pods.gateway_url())).startswith("503")
        first = asyncio.get_running_loop().time()
        assert (await ask(http, pods.gateway_url())).startswith("503")
        assert asyncio.get_running_loop().time() - first < 1
        assert gateways[0].ready
