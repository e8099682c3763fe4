"""Many streaming clients at once, a third of which hang up midway: the others never notice."""

import asyncio

import pytest
from openai import AsyncOpenAI, BadRequestError
from pagelet_api import names

from .answers import MODEL, ask_alone, ask_streaming
from .endpoint import Endpoint

SUBJECTS = ("Paris", "the moon", "bread", "rivers", "clocks", "bees", "chess", "glass")
LENGTHS = (12, 20, 28, 40)
CLIENTS = 64
LONG = 120
"""Tokens of an answer that many can begin, and few can finish at a time, in 640 tokens of KV cache."""


def prompt_of(client: int) -> str:
    """Eight prompts of mixed length, the longest some 400 tokens."""
    subject = SUBJECTS[client % len(SUBJECTS)]
    background = f"People have always wondered about {subject}. " * (1 + 6 * (client % len(SUBJECTS)))
    return f"{background}Tell me something about {subject}."


async def test_answers_are_whole_while_a_third_of_64_clients_hangs_up(service: Endpoint) -> None:
    async with AsyncOpenAI(base_url=f"{service.url}/v1", api_key="none", timeout=240) as client:
        prompts = [prompt_of(client_number) for client_number in range(len(SUBJECTS))]
        alone = {prompt: await ask_alone(client, prompt, max(LENGTHS)) for prompt in prompts}

        async def one(number: int) -> None:
            max_tokens = LENGTHS[number % len(LENGTHS)]
            if number % 3 == 0:
                await ask_streaming(client, prompt_of(number), max_tokens, leave_after=2 + number % 5)
            else:
                text = await ask_streaming(client, prompt_of(number), max_tokens)
                alone[prompt_of(number)].assert_same(text, max_tokens)

        await asyncio.gather(*(one(number) for number in range(CLIENTS)))
    service.wait_for_metric(names.METRIC_BLOCKS_IN_USE, 0)
    service.wait_for_metric(names.METRIC_REQUESTS_RUNNING, 0)
    service.wait_for_metric(names.METRIC_REQUESTS_WAITING, 0)


async def test_everything_finishes_in_a_pool_far_too_small_for_it(tight_service: Endpoint) -> None:
    async with AsyncOpenAI(base_url=f"{tight_service.url}/v1", api_key="none", timeout=280) as client:
        alone = [await ask_alone(client, prompt_of(i), LONG, ignore_eos=True) for i in range(3)]

        async def one(number: int) -> None:
            text = await ask_streaming(client, prompt_of(number % 3), LONG, ignore_eos=True)
            alone[number % 3].assert_same(text, LONG)

        await asyncio.gather(*(one(number) for number in range(9)))
    assert tight_service.engine_metrics()[f"{names.METRIC_PREEMPTIONS}_total"] > 0
    tight_service.wait_for_metric(names.METRIC_BLOCKS_IN_USE, 0)


async def test_a_request_that_can_never_fit_is_refused_with_the_numbers(tight_service: Endpoint) -> None:
    async with AsyncOpenAI(base_url=f"{tight_service.url}/v1", api_key="none", max_retries=0) as client:
        with pytest.raises(BadRequestError, match="640"):
            await client.completions.create(model=MODEL, prompt="word " * 700, max_tokens=5)
