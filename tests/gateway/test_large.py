"""Large requests and answers: what they may cost, what is shared, and what is refused with the numbers."""

import asyncio
import json
import time
from typing import Any

import pytest
from pagelet_api.openai import bounds
from pagelet_gateway.body import BodyMemory
from pagelet_gateway.byte_budget import ByteBudget

from .conftest import MODEL, OpenSite, Site

pytestmark = pytest.mark.asyncio(loop_scope="module")


def reason(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


async def test_a_scored_prompt_is_the_same_in_each_of_many_choices(site: Site) -> None:
    prompt = list(range(5, 5 + 200))
    fields = {"echo": True, "logprobs": 3, "prompt_logprobs": 2, "max_tokens": 3}
    one = (await site.complete(prompt=prompt, **fields)).json()["choices"]
    many = (await site.complete(prompt=prompt, n=4, **fields)).json()["choices"]
    assert [{**choice, "index": 0} for choice in many] == one * 4
    assert len(one[0]["logprobs"]["tokens"]) == len(one[0]["logprobs"]["text_offset"]) == 203
    assert len(one[0]["prompt_logprobs"]) == 200


async def test_too_many_log_probabilities_of_a_prompt_are_refused_with_the_sum(site: Site) -> None:
    prompt = [5] * 2000
    for fields in ({"prompt_logprobs": 8, "n": 16}, {"echo": True, "logprobs": 8, "n": 16}):
        response = await site.complete(prompt=[prompt] * 8, max_tokens=1, **fields)
        assert reason(response) == (400, "answer_too_large")
        assert str(16000 * 16 * 9) in response.json()["error"]["message"]


async def test_the_most_that_is_allowed_is_answered_while_others_are_served(site: Site) -> None:
    """A million log probabilities; meanwhile the loop answers everything else."""
    n = 16
    per_prompt = bounds.MAX_PROMPT_LOGPROBS // (n * 9 * 2000)
    running = asyncio.create_task(site.complete(prompt=[[5] * 2000] * per_prompt, n=n, prompt_logprobs=8, max_tokens=1))
    slowest_s = 0.0
    while not running.done():
        began_s = time.perf_counter()
        assert (await site.http.get(f"{site.url}/health")).status_code == 200
        slowest_s = max(slowest_s, time.perf_counter() - began_s)
    response = await running
    assert response.status_code == 200
    # The test's own client reads some 30 MB in this loop, too.
    assert slowest_s < 1.0
    assert site.gateway.answers.held_bytes == 0


async def test_many_items_are_refused_by_their_number(site: Site) -> None:
    many = bounds.MAX_MESSAGES + 1
    response = await site.chat(messages=[{"role": "user", "content": "x"}] * many)
    assert response.status_code == 400
    assert str(bounds.MAX_MESSAGES) in response.json()["error"]["message"]
    for field, value in (
        ("chat_template_kwargs", {f"k{number}": 1 for number in range(bounds.MAX_TEMPLATE_VARIABLES + 1)}),
        ("documents", [{}] * (bounds.MAX_DOCUMENTS + 1)),
        ("stream_options", {f"k{number}": 1 for number in range(bounds.MAX_STREAM_OPTIONS + 1)}),
    ):
        response = await site.chat(**{field: value})
        assert (response.status_code, response.json()["error"]["param"]) == (400, field)


async def test_a_list_of_wrong_items_is_refused_at_the_first(site: Site) -> None:
    body = b'{"model":"%s","messages":[' % MODEL.encode() + b"0," * 4_000_000 + b"0]}"
    response = await site.http.post(f"{site.url}/v1/chat/completions", content=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "messages[0]")


async def test_bodies_beyond_the_memory_for_them_are_to_be_sent_again(open_site: OpenSite) -> None:
    async with open_site() as site:
        site.gateway.bodies = BodyMemory(large_bytes=1_000_000)
        response = await site.chat(messages=[{"role": "user", "content": "x" * 600_000}])
        assert reason(response) == (503, "gateway_busy")
        assert response.headers["retry-after"] == "1"
        assert (await site.chat()).status_code == 200
        assert site.gateway.bodies.held_bytes == 0


async def test_an_answer_beyond_the_memory_for_it_says_how_to_ask(open_site: OpenSite) -> None:
    async with open_site() as site:
        site.gateway.answers = ByteBudget(10_000)
        response = await site.complete(prompt=[5] * 500, prompt_logprobs=8, max_tokens=1)
        assert reason(response) == (503, "gateway_busy")
        assert "stream" in response.json()["error"]["message"]
        await site.until_idle()
        assert (await site.chat()).status_code == 200


async def test_a_request_whose_client_has_gone_is_prepared_no_further(site: Site) -> None:
    text = "1 " * 2_000_000
    body = json.dumps({"model": MODEL, "prompt": [text[:100], text]}).encode()
    for _ in range(6):
        _, writer = await asyncio.open_connection(*site.address)
        head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()
    assert (await site.chat()).status_code == 200
    await site.until_idle()
