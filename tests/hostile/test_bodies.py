"""Thousands of bodies that no client should send, against a gateway and an engine in processes of their own."""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from cpu.processes import NoProcess, ProcessTree
from gateway_watch import MemoryGuard
from pagelet_api import names
from pagelet_api.gateway_memory import GATEWAY_MEMORY_BYTES
from sleeping_stack import SleepingStack, sleeping_stack

from .bodies import MODEL, Body, hostile_body, largest_bodies

AT_ONCE = 8
ANSWER_LIMIT_S = 30.0
STALL_S = 0.1
MEMORY_LIMIT_BYTES = GATEWAY_MEMORY_BYTES
"""Of the gateway and all processes below it: beyond, it is killed."""
GROWTH_BYTES = 128 * 2**20
"""In the second half of the bodies: what allocators may keep."""
MODEL_LEN = 128
SOURCE = "127.0.0.2"
"""The bodies come from here, the probe and the chat from elsewhere: bounds per client do not touch them."""
MOST_SHOWN = 25

Stalls = list[tuple[float, float, float]]


@dataclass
class Campaign:
    """What was sent, and what was wrong with the answers."""

    wrong: list[str] = field(default_factory=list)
    spans: list[tuple[Body, float, float]] = field(default_factory=list)
    """Each body, from when to when it was under way."""

    def under_way(self, from_s: float, until_s: float) -> list[Body]:
        return [body for body, began_s, ended_s in self.spans if began_s < until_s and ended_s > from_s]


@pytest.fixture(scope="module")
def _running(smollm2: Path) -> Iterator[SleepingStack]:
    engine = {"maxNumSeqs": 256, "maxNumBatchedTokens": 8192}
    with sleeping_stack(smollm2, 0.0, engine, "--model-len", str(MODEL_LEN)) as running:
        yield running


@pytest.fixture
def stack(_running: SleepingStack) -> SleepingStack:
    """A gateway that is new, before an engine that is not."""
    _running.exchange_gateway()
    return _running


@pytest_asyncio.fixture
async def http(stack: SleepingStack) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    transport = httpx.AsyncHTTPTransport(local_address=SOURCE, limits=limits)
    async with httpx.AsyncClient(transport=transport, timeout=ANSWER_LIMIT_S, base_url=stack.url) as client:
        yield client


@pytest.mark.parametrize(
    ("count", "limit_s"),
    [(5_000, 120), pytest.param(100_000, 3000, marks=[pytest.mark.nightly, pytest.mark.timeout(3600)])],
)
async def test_no_body_stalls_or_ends_the_gateway_or_is_left_without_an_answer(
    stack: SleepingStack, http: httpx.AsyncClient, count: int, limit_s: float
) -> None:
    async with campaign_against(stack, http) as campaign:
        half, tree = count // 2, ProcessTree(stack.gateway.pid)
        await send(http, (hostile_body(number) for number in range(half)), campaign, limit_s)
        half_bytes = tree.memory().private_bytes
        await send(http, (hostile_body(number) for number in range(half, count)), campaign, limit_s)
        grown_bytes = tree.memory().private_bytes - half_bytes
    assert grown_bytes < GROWTH_BYTES, f"grew from {half_bytes >> 20} MiB by {grown_bytes >> 20} MiB"


async def test_a_body_as_large_as_is_taken_stalls_nothing_whichever_field_it_fills(
    stack: SleepingStack, http: httpx.AsyncClient
) -> None:
    async with campaign_against(stack, http) as campaign:
        await send(http, largest_bodies(first_number=0), campaign)


@contextlib.asynccontextmanager
async def campaign_against(stack: SleepingStack, http: httpx.AsyncClient) -> AsyncIterator[Campaign]:
    """Asserts in the end that all was answered, nothing stalled, and nothing is left."""
    campaign = Campaign()
    with MemoryGuard(stack.gateway.pid, MEMORY_LIMIT_BYTES) as guard:
        try:
            async with watched(stack) as stalls:
                yield campaign
            if stack.gateway.poll() is None:
                campaign.wrong[:0] = await stalls_that_come_again(stack, http, campaign, stalls)
        except NoProcess:
            pass  # said below
    assert not guard.exceeded, f"the gateway took more than {MEMORY_LIMIT_BYTES >> 20} MiB\n{shown(campaign.wrong)}"
    assert stack.gateway.poll() is None, f"the gateway ended:\n{stack.last_lines()}\n{shown(campaign.wrong)}"
    assert not campaign.wrong, shown(campaign.wrong)
    await answers_a_chat(stack)
    await nothing_is_left_in_the_engine(stack)


async def send(
    http: httpx.AsyncClient,
    bodies: Iterator[Body] | Sequence[Body],
    campaign: Campaign,
    limit_s: float = ANSWER_LIMIT_S,
) -> None:
    """All of them, some at once; stops, and says so, when it takes too long, or no answers come any more."""
    waiting = iter(bodies)
    deadline_s = time.monotonic() + limit_s
    unanswered = 0

    async def send_some() -> None:
        nonlocal unanswered
        for body in waiting:
            if time.monotonic() > deadline_s or unanswered > AT_ONCE:
                campaign.wrong.append(f"given up at body {body.number}: {limit_s:.0f} s, {unanswered} unanswered")
                return
            began_s = time.monotonic()
            try:
                answer = await http.post(body.path, content=body.content, headers=headers_of(body))
            except httpx.HTTPError as error:
                unanswered += 1
                campaign.wrong.append(f"body {body.number} ({body.how}): no answer: {error!r}")
            else:
                if problem := wrong_with(answer):
                    campaign.wrong.append(f"body {body.number} ({body.how}): {problem}")
            campaign.spans.append((body, began_s, time.monotonic()))

    await asyncio.gather(*(send_some() for _ in range(AT_ONCE)))


def headers_of(body: Body) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in body.headers.items()]


def wrong_with(answer: httpx.Response) -> str:
    """What no answer may be, whatever was asked; empty when all is well."""
    status = answer.status_code
    if not (200 <= status < 500 or status in (503, 504)):
        return f"status {status}: {answer.text:.300}"
    if status == 200 and answer.headers["content-type"].startswith("text/event-stream"):
        return "" if answer.text.endswith("data: [DONE]\n\n") else f"a stream that ends with {answer.text[-200:]!r}"
    try:
        said = answer.json()
    except ValueError:
        return f"status {status} without JSON: {answer.text:.300}"
    if status == 200:
        return ""
    error = said.get("error") if isinstance(said, dict) else None
    if not isinstance(error, dict) or error.keys() != {"message", "type", "param", "code"}:
        return f"status {status} without OpenAI's error: {answer.text:.300}"
    if not error["message"] or len(answer.content) > 4096:
        return f"status {status} with a message of {len(error['message'])} characters"
    return ""


# ---- stalls ----------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def watched(stack: SleepingStack) -> AsyncIterator[Stalls]:
    """Has the stalls in its list when it is left: (from, until, seconds that the loop was held)."""
    probe = Path(__file__).with_name("loop_probe.py")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(probe), stack.url, str(stack.gateway.pid)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**28,
    )
    stalls: Stalls = []
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"ready\n", "the probe does not reach the gateway"
        yield stalls
        output, _ = await process.communicate(b"")
        stalls += [(asked, answered, held) for asked, answered, held in json.loads(output) if held > STALL_S]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def stalls_that_come_again(
    stack: SleepingStack, http: httpx.AsyncClient, campaign: Campaign, stalls: Stalls
) -> list[str]:
    """The machine may have stood still: what counts comes again with the same bodies, twice."""
    confirmed = []
    for from_s, until_s, held_s in sorted(stalls, key=lambda stall: -stall[2])[:5]:
        bodies = campaign.under_way(from_s, until_s)
        seen_s = [held_s]
        for _ in range(2):
            async with watched(stack) as again:
                await send(http, bodies, Campaign())
            seen_s.append(max((held for _, _, held in again), default=0.0))
        if min(seen_s) > STALL_S:
            times = ", ".join(f"{seconds:.2f}" for seconds in seen_s)
            bodies.sort(key=lambda body: -len(body.content))
            bodies_shown = "; ".join(f"{body.number} ({body.how})" for body in bodies[: 2 * AT_ONCE])
            confirmed.append(f"the loop was held for {times} s while these were under way: {bodies_shown}")
    return confirmed


# ---- afterwards ------------------------------------------------------------------------------------------------------


async def answers_a_chat(stack: SleepingStack) -> None:
    async with httpx.AsyncClient(timeout=ANSWER_LIMIT_S) as http:
        body: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
        answer = await http.post(f"{stack.url}/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"]


async def nothing_is_left_in_the_engine(stack: SleepingStack) -> None:
    wanted = (names.METRIC_REQUESTS_RUNNING, names.METRIC_REQUESTS_WAITING, names.METRIC_BLOCKS_IN_USE)
    deadline_s = time.monotonic() + 10
    while left := {name: value for name in wanted if (value := stack.engine_metrics()[name])}:
        assert time.monotonic() < deadline_s, f"left in the engine: {left}"
        await asyncio.sleep(0.05)


def shown(problems: Sequence[str]) -> str:
    more = f"\n… and {len(problems) - MOST_SHOWN} more" if len(problems) > MOST_SHOWN else ""
    return "\n".join(f"{problem:.2000}" for problem in problems[:MOST_SHOWN]) + more
