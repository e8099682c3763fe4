"""A gateway on a loopback port in front of fake engines, all in the test's own event loop."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
from openai import AsyncOpenAI
from pagelet_api import inference_pb2 as pb
from pagelet_api.config import GatewayConfig
from pagelet_gateway.engines import Engines
from pagelet_gateway.gateway import Gateway
from pagelet_gateway.http.listener import Listeners, listen
from pagelet_gateway.link import LinkTiming
from pagelet_gateway.metrics import Metrics
from pagelet_gateway.server import serve
from pagelet_gateway.workers.launcher import ForkServer
from pagelet_gateway.workers.pool import WorkerPool
from tokenizers import Tokenizer

from .fake_engine import FakeEngine
from .tokenizers_made_here import byte_level, model_files

MODEL = "test-model"
ANSWER = "Hello, world! naïve café 🎉 日本語: one, two, three."


async def eventually(condition: Callable[[], Any], what: str, limit_s: float = 10.0) -> None:
    """Wait until the condition holds; says what it waited for when it does not."""
    deadline_s = asyncio.get_running_loop().time() + limit_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline_s, f"still waiting: {what}"
        await asyncio.sleep(0.005)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return byte_level()


def model_info(tokenizer: Tokenizer, digest: str = "sha256:0123456789abcdef") -> pb.ModelInfo:
    return pb.ModelInfo(
        name=MODEL,
        digest=digest,
        max_model_len=2048,
        vocab_size=tokenizer.get_vocab_size(),
        eos_token_ids=[tokenizer.token_to_id("<|im_end|>")],
        limits=pb.RequestLimits(max_n=16, max_logprobs=8, max_stop_token_ids=8, max_logit_bias=100),
        engine_version="1",
        created_unix_s=1_700_000_000,
    )


@dataclass
class Site:
    """The gateway under test and what is around it."""

    url: str
    ops_url: str
    gateway: Gateway
    engines: list[FakeEngine]
    addresses: set[str]
    """What the engines' name resolves to."""
    stop: asyncio.Event
    served: asyncio.Task[None]
    http: httpx.AsyncClient
    openai: AsyncOpenAI

    @property
    def engine(self) -> FakeEngine:
        return self.engines[0]

    @property
    def address(self) -> tuple[str, int]:
        url = httpx.URL(self.url)
        assert url.port is not None
        return url.host, url.port

    async def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return await self.http.post(f"{self.url}{path}", json=body, **options)

    async def chat(self, **fields: Any) -> httpx.Response:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 200, **fields}
        return await self.post("/v1/chat/completions", body)

    async def complete(self, **fields: Any) -> httpx.Response:
        return await self.post("/v1/completions", {"model": MODEL, "prompt": "Hi", "max_tokens": 200, **fields})

    async def until_usable(self, engines: int) -> None:
        links = self.gateway.engines
        await eventually(lambda: sum(link.usable for link in links.links) == engines, f"{engines} usable engines")

    async def until_model(self, digest: str) -> None:
        def served() -> str:
            model = self.gateway.engines.model
            return model.digest if model else ""

        await eventually(lambda: served() == digest, f"an engine with {digest}")

    async def until_idle(self) -> None:
        await eventually(lambda: not any(engine.running for engine in self.engines), "no running request in any engine")


OpenSite = Callable[..., contextlib.AbstractAsyncContextManager[Site]]


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    with contextlib.closing(ForkServer()) as server:
        yield server


@pytest.fixture(scope="module")
def open_site(tokenizer: Tokenizer, fork_server: ForkServer) -> OpenSite:
    """Opens a gateway with `engines` fake engines; keyword arguments go to the gateway or its configuration."""

    @contextlib.asynccontextmanager
    async def opened(
        engines: int = 1, *, max_backlog: int = 1024, hold_s: float = 0.0, linger_s: float = 0.0, **config: Any
    ) -> AsyncIterator[Site]:
        end = tokenizer.token_to_id("<|im_end|>")
        answer = [*tokenizer.encode(ANSWER).ids, end]
        fakes = [FakeEngine(model_files(tokenizer), model_info(tokenizer), lambda *_: answer) for _ in range(engines)]
        for fake in fakes:
            await fake.start()
        addresses = {fake.address for fake in fakes}

        async def resolve() -> frozenset[str] | None:
            return frozenset(addresses)

        listeners = Listeners(listen("127.0.0.1", 0), listen("127.0.0.1", 0))
        url, ops_url = (f"http://127.0.0.1:{listener.getsockname()[1]}" for listener in (listeners.http, listeners.ops))
        config = {"drain_timeout_s": 10, **config}
        settings = GatewayConfig(model_name=MODEL, aliases=("also/known-as",), engine_host="engines", **config)
        timing = LinkTiming(rpc_s=1, silence_s=0.5, backoff_first_s=0.02, backoff_most_s=0.05)
        with ThreadPoolExecutor(2) as executor, WorkerPool(fork_server, executor) as workers:
            gateway = Gateway(
                settings,
                Engines(
                    resolve,
                    executor,
                    workers,
                    gateway="test",
                    resolve_interval_s=0.02,
                    eager_interval_s=0.02,
                    timing=timing,
                    hold_s=hold_s,
                ),
                Metrics(MODEL),
                workers,
                max_backlog=max_backlog,
            )
            stop = asyncio.Event()
            served = asyncio.create_task(serve(gateway, listeners, stop, linger_s))
            limits = httpx.Limits(max_connections=None)
            async with (
                httpx.AsyncClient(timeout=30, limits=limits) as http,
                AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=30) as client,
            ):
                site = Site(url, ops_url, gateway, fakes, addresses, stop, served, http, client)
                try:
                    if engines:
                        await _until_ready(site)
                    yield site
                finally:
                    for fake in fakes:
                        fake.resume()
                    stop.set()
                    await served
        for fake in fakes:
            await fake.die()

    return opened


async def _until_ready(site: Site) -> None:
    async def ready() -> bool:
        return (await site.http.get(f"{site.ops_url}/ready")).status_code == 200

    await _until(ready, "the gateway is ready")
    for engine in site.engines:
        engine.requests.clear()


async def _until(condition: Callable[[], Awaitable[bool]], what: str, limit_s: float = 10.0) -> None:
    deadline_s = asyncio.get_running_loop().time() + limit_s
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline_s, f"still waiting: {what}"
        await asyncio.sleep(0.01)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _shared_site(open_site: OpenSite) -> AsyncIterator[Site]:
    async with open_site() as opened:
        yield opened


@pytest.fixture
def site(_shared_site: Site) -> Iterator[Site]:
    """A gateway and one engine, both as new; the processes are shared by the tests of a file."""
    engine = _shared_site.engine
    script = engine.script
    engine.requests.clear()
    engine.aborts.clear()
    yield _shared_site
    engine.resume()
    engine.script, engine.tokens_per_step, engine.refusal, engine.speaks_leanly = script, 1, None, True
