"""Engines that come, go, fail, fill up and drain, as clients notice it."""

import asyncio
import json
from typing import Any

import grpc
import pytest
from openai import APIError, InternalServerError, RateLimitError
from pagelet_api import inference_pb2 as pb

from .conftest import ANSWER, MODEL, OpenSite, Site, eventually
from .tokenizers_made_here import byte_level, model_files

MESSAGES: list[Any] = [{"role": "user", "content": "Hi"}]


def refusal(code: grpc.StatusCode, message: str = "no room", retry_after_ms: int = 0) -> pb.RequestError:
    return pb.RequestError(code=code.value[0], message=message, retry_after_ms=retry_after_ms)


async def test_requests_go_to_the_engine_with_the_fewest(open_site: OpenSite) -> None:
    async with open_site(3) as site:
        await site.until_usable(3)
        for engine in site.engines:
            engine.pause()
        asked = [asyncio.create_task(site.chat()) for _ in range(9)]
        await eventually(lambda: sum(len(engine.running) for engine in site.engines) == 9, "nine requests in engines")
        assert [len(engine.running) for engine in site.engines] == [3, 3, 3]
        for engine in site.engines:
            engine.resume()
        assert [response.status_code for response in await asyncio.gather(*asked)] == [200] * 9


async def test_no_engine_is_a_retryable_503(open_site: OpenSite) -> None:
    async with open_site(0) as site:
        response = await site.chat()
        assert (response.status_code, response.json()["error"]["code"]) == (503, "engine_unavailable")
        assert int(response.headers["retry-after"]) > 0
        assert (await site.chat(model="other")).status_code == 404
        assert (await site.http.get(f"{site.url}/v1/models")).json()["data"][0]["id"] == MODEL
        ready = await site.http.get(f"{site.ops_url}/ready")
        assert (ready.status_code, ready.json()["reason"]) == (503, "no engine of engines:9000 is connected")
        assert (await site.http.get(f"{site.ops_url}/health")).status_code == 200


async def test_a_full_queue_is_429_with_the_time_to_wait(open_site: OpenSite) -> None:
    async with open_site() as site:
        site.engine.refusal = refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full", 2500)
        with pytest.raises(RateLimitError, match="the queue is full") as caught:
            await site.openai.chat.completions.create(model=MODEL, messages=MESSAGES)
        assert caught.value.response.headers["retry-after"] == "3"
        assert caught.value.code == "queue_full"


async def test_a_request_one_engine_has_no_room_for_is_answered_by_another(open_site: OpenSite) -> None:
    async with open_site(2) as site:
        await site.until_usable(2)
        for code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE):
            site.engines[0].refusal = refusal(code)
            answers = await asyncio.gather(*(site.chat() for _ in range(4)))
            assert [answer.status_code for answer in answers] == [200] * 4
        assert site.engines[0].requests, "the full engine was asked, too"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 400),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 504),
        (grpc.StatusCode.ABORTED, 503),
        (grpc.StatusCode.INTERNAL, 500),
    ],
)
async def test_an_engine_s_refusal_becomes_the_status_and_keeps_its_sentence(
    open_site: OpenSite, code: grpc.StatusCode, status: int
) -> None:
    async with open_site() as site:
        site.engine.refusal = refusal(code, "because of 640 tokens")
        for stream in (False, True):
            response = await site.chat(stream=stream)
            assert response.status_code == status
            assert "640 tokens" in response.json()["error"]["message"]
        # The official clients repeat 5xx by themselves, unless told that it is of no use.
        assert ("x-should-retry" in response.headers) == (status in (500, 504))


async def test_an_engine_that_dies_before_the_first_token_is_replaced_unnoticed(open_site: OpenSite) -> None:
    async with open_site(2) as site:
        await site.until_usable(2)
        for engine in site.engines:
            engine.pause()
        asked = asyncio.create_task(site.chat())
        await eventually(lambda: any(engine.running for engine in site.engines), "the request in an engine")
        holder, other = sorted(site.engines, key=lambda engine: not engine.running)
        await holder.die()
        other.resume()
        response = await asked
        assert response.json()["choices"][0]["message"]["content"] == ANSWER
        await holder.start(holder.port)


async def test_an_engine_that_dies_in_the_middle_is_an_error_in_the_stream(open_site: OpenSite) -> None:
    async with open_site(2) as site:
        await site.until_usable(2)
        for engine in site.engines:
            engine.pause()
        asked = asyncio.create_task(site.openai.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True))
        await eventually(lambda: any(engine.running for engine in site.engines), "the request in an engine")
        holder = next(engine for engine in site.engines if engine.running)
        holder.step()
        stream = await asked
        await stream.__anext__()
        await holder.die()
        with pytest.raises(APIError, match="was lost"):
            async for _ in stream:
                pass
        await holder.start(holder.port)


async def test_an_engine_that_dies_in_the_middle_is_503_where_nothing_was_sent_yet(open_site: OpenSite) -> None:
    async with open_site() as site:
        site.engine.pause()
        asked = asyncio.create_task(site.openai.chat.completions.create(model=MODEL, messages=MESSAGES))
        await eventually(lambda: site.engine.running, "the request in the engine")
        site.engine.step()
        await site.engine.die()
        with pytest.raises(InternalServerError) as caught:
            await asked
        assert caught.value.status_code == 503
        await site.engine.start(site.engine.port)


async def test_an_engine_that_restarts_is_used_again_and_a_proven_gateway_stays_ready(open_site: OpenSite) -> None:
    async with open_site() as site:
        await site.engine.die()
        await site.until_usable(0)
        assert (await site.http.get(f"{site.ops_url}/ready")).status_code == 200, "a 503 that says why needs a gateway"
        response = await site.chat()
        assert (response.status_code, response.headers["retry-after"]) == (503, "2")
        await site.engine.start(site.engine.port)
        await site.until_usable(1)
        assert (await site.http.get(f"{site.ops_url}/ready")).status_code == 200
        assert (await site.chat()).status_code == 200
        assert site.engine.tokenizer_reads == 1, "the same model's tokenizer is read once"


async def test_a_draining_engine_finishes_what_it_has_and_gets_nothing_new(open_site: OpenSite) -> None:
    async with open_site(2) as site:
        await site.until_usable(2)
        first, second = site.engines
        first.pause()
        second.pause()
        asked = [asyncio.create_task(site.chat()) for _ in range(2)]
        await eventually(lambda: first.running and second.running, "one request in each engine")
        first.announce_drain()
        await site.until_usable(1)
        asked += [asyncio.create_task(site.chat()) for _ in range(3)]
        await eventually(lambda: len(second.running) == 4, "all new requests in the other engine")
        assert len(first.running) == 1
        first.resume()
        second.resume()
        assert [response.status_code for response in await asyncio.gather(*asked)] == [200] * 5


async def test_a_new_engine_is_found_and_one_that_is_gone_forgotten(open_site: OpenSite) -> None:
    async with open_site(2) as site:
        await site.until_usable(2)
        old = site.engines[0]
        site.addresses.discard(old.address)
        await site.until_usable(1)
        assert (await site.chat()).status_code == 200
        site.addresses.add(old.address)
        await site.until_usable(2)


async def test_an_engine_that_is_no_longer_listed_finishes_what_it_has(open_site: OpenSite) -> None:
    async with open_site(2) as site:
        await site.until_usable(2)
        for engine in site.engines:
            engine.pause()
        asked = asyncio.create_task(site.chat())
        await eventually(lambda: any(engine.running for engine in site.engines), "the request in an engine")
        holder = next(engine for engine in site.engines if engine.running)
        site.addresses.discard(holder.address)
        await eventually(
            lambda: [link.listed for link in site.gateway.engines.links if link.address == holder.address] == [False],
            "the engine is known to be unlisted",
        )
        holder.resume()
        assert (await asked).json()["choices"][0]["message"]["content"] == ANSWER
        await site.until_usable(1)


async def test_connected_engines_stay_when_their_name_resolves_to_nothing(open_site: OpenSite) -> None:
    async with open_site() as site:
        site.addresses.clear()
        await eventually(lambda: not site.gateway.engines.links[0].listed, "the empty list is seen")
        assert (await site.chat()).status_code == 200


async def test_another_model_behind_the_same_name_brings_its_own_tokenizer(open_site: OpenSite) -> None:
    async with open_site() as site:
        other = byte_level()
        other.add_tokens(["capital letters"])
        site.engine.files = model_files(other)
        site.engine.info.digest = "sha256:another"
        await site.engine.restart()
        await site.until_model("sha256:another")
        tokens = (await site.post("/tokenize", {"prompt": "capital letters"})).json()["tokens"]
        assert tokens == [other.token_to_id("capital letters")]


async def test_a_request_goes_only_to_engines_with_the_model_it_was_tokenized_for(open_site: OpenSite) -> None:
    async with open_site(2) as site:
        await site.until_usable(2)
        first, second = site.engines
        second.info.digest = "sha256:another"
        await second.restart()
        await site.until_usable(2)
        for engine in site.engines:
            engine.refusal = refusal(grpc.StatusCode.UNAVAILABLE)
        assert (await site.chat()).status_code == 503
        assert len(first.requests) + len(second.requests) == 1


async def test_an_engine_without_a_usable_tokenizer_is_not_used(open_site: OpenSite) -> None:
    async with open_site() as site:
        site.engine.files = {"tokenizer.json": b"{}"}
        site.engine.info.digest = "sha256:broken"
        reads = site.engine.tokenizer_reads
        await site.engine.restart()
        await eventually(lambda: site.engine.tokenizer_reads > reads, "its tokenizer was read")
        assert (await site.chat()).status_code == 503


async def test_a_model_without_a_chat_template_completes_but_does_not_chat(open_site: OpenSite) -> None:
    async with open_site() as site:
        site.engine.files = model_files(byte_level(), template=None)
        site.engine.info.digest = "sha256:base"
        await site.engine.restart()
        await site.until_model("sha256:base")
        response = await site.chat()
        assert (response.status_code, response.json()["error"]["code"]) == (400, "no_chat_template")
        assert (await site.complete()).status_code == 200


async def test_a_template_s_complaint_is_400(open_site: OpenSite) -> None:
    async with open_site() as site:
        site.engine.files = model_files(byte_level(), template="{{ raise_exception('roles must alternate') }}")
        site.engine.info.digest = "sha256:strict"
        await site.engine.restart()
        await site.until_model("sha256:strict")
        response = await site.chat()
        assert (response.status_code, response.json()["error"]["param"]) == (400, "messages")
        assert "roles must alternate" in response.json()["error"]["message"]


async def test_a_request_that_takes_too_long_is_ended(open_site: OpenSite) -> None:
    async with open_site(request_timeout_s=1) as site:
        site.engine.pause()
        whole, streamed = await asyncio.gather(site.chat(), _stream_after_one_step(site))
        assert (whole.status_code, whole.json()["error"]["code"]) == (504, "request_timeout")
        assert '"code": "request_timeout"' in streamed
        assert site.engine.requests[0].deadline_ms in range(900, 1001)
        await site.until_idle()


async def _stream_after_one_step(site: Site) -> str:
    asked = asyncio.create_task(site.chat(stream=True))
    await eventually(lambda: len(site.engine.running) == 2, "both requests in the engine")
    site.engine.step()
    return (await asked).text


async def test_sixty_four_streams_at_once_are_each_whole(open_site: OpenSite, tokenizer: Any) -> None:
    def script(request: pb.GenerateRequest, index: int) -> list[int]:
        return [*request.prompt[0].token_ids.ids, 2]

    async with open_site(2) as site:
        await site.until_usable(2)
        for engine in site.engines:
            engine.script = script
        prompts = [f"stream {number}: 日本 🎉 " * (1 + number % 5) for number in range(64)]
        answers = await asyncio.gather(
            *(site.complete(prompt=prompt, stream=True, max_tokens=500) for prompt in prompts)
        )
        for prompt, answer in zip(prompts, answers, strict=True):
            events = [event.removeprefix("data: ") for event in answer.text.split("\n\n")[:-2]]
            assert "".join(json.loads(event)["choices"][0]["text"] for event in events) == prompt
