"""The main job: one file in, an answer out, and a clean end."""

import asyncio
import os
import signal
import time
from pathlib import Path

from openai import APIError, AsyncOpenAI, OpenAI
from pagelet_api import names

from .answers import MODEL, ask_streaming
from .endpoint import Endpoint, manifest, serve


def test_knows_the_capital_of_france(service: Endpoint) -> None:
    with OpenAI(base_url=f"{service.url}/v1", api_key="none") as client:
        completion = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "What is the capital of France?"}], temperature=0
        )
    assert completion.choices[0].message.content == "The capital of France is Paris."
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.completion_tokens > 0


async def test_stop_strings_end_an_answer_and_free_its_blocks(service: Endpoint) -> None:
    async with AsyncOpenAI(base_url=f"{service.url}/v1", api_key="none") as client:
        completion = await client.completions.create(
            model=MODEL,
            prompt="1 2 3 4 5 6",
            max_tokens=200,
            temperature=0,
            stop=["10 1"],
            extra_body={"ignore_eos": True},
        )
    assert "10 1" not in completion.choices[0].text
    assert completion.choices[0].finish_reason == "stop"
    service.wait_for_metric(names.METRIC_BLOCKS_IN_USE, 0)


async def test_seeded_samples_are_the_same_again_and_differ_among_themselves(service: Endpoint) -> None:
    async with AsyncOpenAI(base_url=f"{service.url}/v1", api_key="none") as client:
        first, second = [
            await client.completions.create(
                model=MODEL, prompt="Once upon a time", max_tokens=12, temperature=1.5, seed=7, n=3
            )
            for _ in range(2)
        ]
    texts = [choice.text for choice in first.choices]
    assert texts == [choice.text for choice in second.choices]
    assert len(set(texts)) == 3


async def test_a_repeated_prompt_is_found_in_the_prefix_cache(service: Endpoint) -> None:
    prompt = "Bees are insects that live in hives and make honey. " * 20
    async with AsyncOpenAI(base_url=f"{service.url}/v1", api_key="none") as client:
        usages = [
            (await client.completions.create(model=MODEL, prompt=prompt, max_tokens=1, temperature=0)).usage
            for _ in range(2)
        ]
    cached = [usage.prompt_tokens_details.cached_tokens for usage in usages if usage and usage.prompt_tokens_details]
    assert cached[0] == 0
    assert cached[1] is not None
    assert cached[1] >= 192


async def test_ctrl_c_lets_an_answer_in_flight_finish(smollm2: Path, tmp_path: Path) -> None:
    with serve(manifest(smollm2), tmp_path) as endpoint:
        async with AsyncOpenAI(base_url=f"{endpoint.url}/v1", api_key="none", max_retries=0) as client:
            stream = await client.completions.create(
                model=MODEL, prompt="Count:", max_tokens=40, temperature=0, stream=True, extra_body={"ignore_eos": True}
            )
            chunks = 0
            async for chunk in stream:
                chunks += 1
                if chunks == 1:
                    endpoint.process.send_signal(signal.SIGINT)
                finish = chunk.choices[0].finish_reason
        assert finish == "length"


async def test_an_engine_that_is_killed_comes_back(smollm2: Path, tmp_path: Path) -> None:
    with serve(manifest(smollm2), tmp_path) as endpoint:
        async with AsyncOpenAI(base_url=f"{endpoint.url}/v1", api_key="none", max_retries=0) as client:
            before = await ask_streaming(client, "What is the capital of France?", 20)
            os.kill(endpoint.engine_pid(), signal.SIGKILL)
        async with AsyncOpenAI(base_url=f"{endpoint.url}/v1", api_key="none", max_retries=0) as client:
            assert await ask_until_answered(client) == before


async def ask_until_answered(client: AsyncOpenAI, limit_s: float = 60) -> str:
    until_s = time.monotonic() + limit_s
    while True:
        try:
            return await ask_streaming(client, "What is the capital of France?", 20)
        except APIError:
            if time.monotonic() > until_s:
                raise
            await asyncio.sleep(0.2)


async def test_an_engine_of_three_ranks_comes_back_when_one_of_them_is_killed(smollm2: Path, tmp_path: Path) -> None:
    spec = manifest(smollm2, dtype="float32", tensorParallelSize=3)
    with serve(spec, tmp_path) as endpoint:
        async with AsyncOpenAI(base_url=f"{endpoint.url}/v1", api_key="none", max_retries=0) as client:
            before = await ask_streaming(client, "What is the capital of France?", 20)
            os.kill(endpoint.rank_pid(1), signal.SIGKILL)
        async with AsyncOpenAI(base_url=f"{endpoint.url}/v1", api_key="none", max_retries=0) as client:
            assert await ask_until_answered(client, 120) == before
