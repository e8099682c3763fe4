"""Real worker processes: what they answer, and what becomes of a request that ends one."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import pytest_asyncio
from pagelet_api.gateway_memory import Lane
from pagelet_gateway.workers.job import Job, Kind, Prepared, Refused
from pagelet_gateway.workers.launcher import ForkServer
from pagelet_gateway.workers.pool import MAX_LOST_WORKERS, WorkerPool
from tokenizers import Tokenizer

from ..conftest import eventually
from ..tokenizers_made_here import byte_level, model_files

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMES = ("m",)
MEMORY_BYTES = 256 * 2**20
BOMB = "{% set ns = namespace(t='x' * 1000) %}{% for m in messages %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}{{ ns.t }}"
ENDLESS = "{% for m in messages %}{% set x = 'x'.center(100000000) %}{% endfor %}"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return byte_level()


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    """One of this file's own: it is killed here."""
    with contextlib.closing(ForkServer()) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pool(server: ForkServer) -> AsyncIterator[WorkerPool]:
    with (
        ThreadPoolExecutor(2) as executor,
        WorkerPool(server, executor, [Lane(2**62, MEMORY_BYTES, 0)], job_limit_s=2.0) as pool,
    ):
        yield pool


async def load(pool: WorkerPool, tokenizer: Tokenizer, template: str | None = None) -> int:
    files = dict(model_files(tokenizer))
    if template is not None:
        files["chat_template.jinja"] = template.encode()
    return await pool.load(files, tokenizer.get_vocab_size())


def chat(model: int | None, messages: int = 1, **fields: object) -> Job:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}] * messages, **fields}
    return Job(Kind.CHAT, json.dumps(body).encode(), NAMES, model, 2048)


async def prompt(pool: WorkerPool, job: Job) -> list[int]:
    outcome = await pool.run(job, "client")
    assert isinstance(outcome, Prepared)
    return list(outcome.prompts[0])


async def refusal(pool: WorkerPool, job: Job) -> str:
    outcome = await pool.run(job, "client")
    assert isinstance(outcome, Refused)
    assert outcome.error.status == 400
    return outcome.error.message


async def test_a_conversation_becomes_tokens(pool: WorkerPool, tokenizer: Tokenizer) -> None:
    model = await load(pool, tokenizer)
    text = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert await prompt(pool, chat(model)) == tokenizer.encode(text).ids


async def test_without_a_model_a_body_is_judged_all_the_same(pool: WorkerPool) -> None:
    assert (await pool.run(chat(None), "client")) == Prepared({})
    assert "max_tokens" in await refusal(pool, chat(None, max_tokens="1"))


async def test_two_models_are_known_at_once_and_a_forgotten_one_no_more(pool: WorkerPool, tokenizer: Tokenizer) -> None:
    first = await load(pool, tokenizer, "one")
    second = await load(pool, tokenizer, "two")
    assert await prompt(pool, chat(first)) == tokenizer.encode("one").ids
    assert await prompt(pool, chat(second)) == tokenizer.encode("two").ids
    await pool.forget({first})
    assert (await pool.run(chat(first), "client")) == Prepared({})
    assert await prompt(pool, chat(second)) == tokenizer.encode("two").ids


async def test_a_template_that_fills_the_memory_ends_its_request_alone(pool: WorkerPool, tokenizer: Tokenizer) -> None:
    bomb, model = await load(pool, tokenizer, BOMB), await load(pool, tokenizer)
    assert f"{MEMORY_BYTES >> 20} MiB" in await refusal(pool, chat(bomb, messages=40))
    assert await prompt(pool, chat(model))


async def test_a_request_that_takes_too_long_is_ended_with_its_worker(pool: WorkerPool, tokenizer: Tokenizer) -> None:
    endless, model = await load(pool, tokenizer, ENDLESS), await load(pool, tokenizer)
    lost = pool.lost_workers
    assert "longer than" in await refusal(pool, chat(endless, messages=200))
    assert pool.lost_workers == lost + 1
    assert await prompt(pool, chat(model))


async def test_a_request_that_ends_two_workers_is_refused(
    pool: WorkerPool, server: ForkServer, tokenizer: Tokenizer
) -> None:
    endless, model = await load(pool, tokenizer, ENDLESS), await load(pool, tokenizer)
    running = asyncio.create_task(pool.run(chat(endless, messages=200), "client"))
    lost_before = pool.lost_workers
    for number in range(1, MAX_LOST_WORKERS + 1):
        await eventually(lambda: pool.busy, "the job at work")
        for worker in children(server.pid):  # one that was replaced may not have ended yet
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        wanted = lost_before + number
        await eventually(lambda wanted=wanted: pool.lost_workers == wanted, "the worker's end")
    outcome = await running
    assert isinstance(outcome, Refused)
    assert "ended the process" in outcome.error.message
    assert await prompt(pool, chat(model))


async def test_a_fork_server_that_is_killed_is_started_anew_with_its_models(
    pool: WorkerPool, server: ForkServer, tokenizer: Tokenizer
) -> None:
    model = await load(pool, tokenizer)
    assert await prompt(pool, chat(model))
    killed = server.pid
    os.kill(killed, signal.SIGKILL)
    await eventually(lambda: server.pid != killed, "another fork server")
    assert await prompt(pool, chat(model))


async def test_a_job_whose_client_has_gone_is_not_begun(pool: WorkerPool, tokenizer: Tokenizer) -> None:
    endless, model = await load(pool, tokenizer, ENDLESS), await load(pool, tokenizer)
    running = asyncio.create_task(pool.run(chat(endless, messages=200), "client"))
    gone = asyncio.create_task(pool.run(chat(model), "client"))
    await eventually(lambda: pool.waiting == 1, "the job that waits")
    gone.cancel()
    await eventually(lambda: pool.waiting == 0, "no job that waits")
    await running


async def test_a_long_job_does_not_make_short_ones_wait(server: ForkServer, tokenizer: Tokenizer) -> None:
    lanes = [Lane(1000, MEMORY_BYTES, 0), Lane(2**62, MEMORY_BYTES, 0)]
    with ThreadPoolExecutor(2) as executor, WorkerPool(server, executor, lanes, job_limit_s=60.0) as pool:
        endless, model = await load(pool, tokenizer, ENDLESS), await load(pool, tokenizer)
        long = [asyncio.create_task(pool.run(chat(endless, messages=200), "client")) for _ in range(3)]
        for _ in range(20):
            assert await prompt(pool, chat(model))
        assert not any(task.done() for task in long)
        for task in long:
            task.cancel()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
