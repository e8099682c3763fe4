"""Chat completions as the official client sees them."""

import asyncio
from typing import Any

import pytest
from openai import OpenAI
from tokenizers import Tokenizer

from .conftest import ANSWER, MODEL, Site

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]


async def test_answers_with_text_usage_and_finish_reason(site: Site) -> None:
    completion = await site.openai.chat.completions.create(model=MODEL, messages=MESSAGES)
    choice = completion.choices[0]
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", ANSWER, "stop")
    assert completion.usage is not None
    prompt_tokens = len(site.engine.requests[0].prompt[0].token_ids.ids)
    assert completion.usage.prompt_tokens == prompt_tokens
    assert completion.usage.total_tokens == prompt_tokens + completion.usage.completion_tokens
    assert completion.usage.prompt_tokens_details is not None
    assert completion.usage.prompt_tokens_details.cached_tokens == prompt_tokens // 2
    assert completion.model == MODEL


async def test_streams_the_same_text_and_ends_with_usage_and_done(site: Site) -> None:
    stream = await site.openai.chat.completions.create(
        model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    *answer, last = chunks
    assert answer[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in answer) == ANSWER
    assert [chunk.choices[0].finish_reason for chunk in answer[:-1]] == [None] * (len(answer) - 1)
    assert answer[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in answer)
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens > 10
    assert len({chunk.id for chunk in chunks}) == 1


async def test_the_synchronous_client_streams_too(site: Site) -> None:
    def ask() -> str:
        with OpenAI(base_url=f"{site.url}/v1", api_key="none") as client:
            stream = client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
            return "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    assert await asyncio.to_thread(ask) == ANSWER


async def test_a_stream_is_events_of_plain_ascii_json(site: Site) -> None:
    response = await site.chat(stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-request-id"] in response.text
    assert response.text.isascii()
    assert response.text.endswith("data: [DONE]\n\n")
    assert all(event.startswith("data: ") for event in response.text.removesuffix("\n\n").split("\n\n"))
    assert '"usage"' not in response.text


async def test_the_engine_is_sent_the_rendered_template_s_tokens(site: Site, tokenizer: Tokenizer) -> None:
    await site.chat(messages=[{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}])
    text = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert list(site.engine.requests[0].prompt[0].token_ids.ids) == tokenizer.encode(text).ids


async def test_text_parts_are_joined_and_a_final_message_is_continued(site: Site, tokenizer: Tokenizer) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    await site.chat(
        messages=[{"role": "user", "content": parts}, {"role": "assistant", "content": "Well,"}],
        continue_final_message=True,
        add_generation_prompt=False,
    )
    text = "<|im_start|>user\none\ntwo<|im_end|>\n<|im_start|>assistant\nWell,"
    assert list(site.engine.requests[0].prompt[0].token_ids.ids) == tokenizer.encode(text).ids


async def test_n_choices_are_told_apart_in_a_stream(site: Site, tokenizer: Tokenizer) -> None:
    texts = ["first answer", "the second", "third 🎉"]
    site.engine.script = lambda request, index: [*tokenizer.encode(texts[index]).ids, 2]
    stream = await site.openai.chat.completions.create(
        model=MODEL, messages=MESSAGES, n=3, stream=True, stream_options={"include_usage": True}
    )
    got = ["", "", ""]
    ends: list[tuple[int, str | None]] = []
    tokens = 0
    async for chunk in stream:
        for choice in chunk.choices:
            got[choice.index] += choice.delta.content or ""
            if choice.finish_reason:
                ends.append((choice.index, choice.finish_reason))
        if chunk.usage:
            tokens = chunk.usage.completion_tokens
    assert got == texts
    assert sorted(ends) == [(0, "stop"), (1, "stop"), (2, "stop")]
    assert tokens == sum(len(tokenizer.encode(text).ids) + 1 for text in texts)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_stop_string_across_tokens_ends_the_answer_before_it(site: Site, stream: bool, tokenizer: Tokenizer):
    response = await site.chat(stop=["café 🎉", "never"], stream=stream)
    if stream:
        chunks = [line for line in response.text.split("\n\n") if '"content":' in line]
        assert "caf" not in "".join(chunks)
        assert '"finish_reason":"stop","stop_reason":"caf\\u00e9 \\ud83c\\udf89"' in response.text
    else:
        choice = response.json()["choices"][0]
        assert choice["message"]["content"] == "Hello, world! naïve "
        assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", "café 🎉")
        through = tokenizer.encode(ANSWER.partition(":")[0].partition(" 日")[0]).ids
        assert response.json()["usage"]["completion_tokens"] == len(through)
    await site.until_idle()


async def test_one_stopped_sample_is_aborted_while_the_others_go_on(site: Site, tokenizer: Tokenizer) -> None:
    texts = ["a STOP b c d e f g h", "one two three four five six seven eight"]
    site.engine.script = lambda request, index: [*tokenizer.encode(texts[index]).ids, 2]
    body = (await site.chat(n=2, stop="STOP")).json()
    assert [choice["message"]["content"] for choice in body["choices"]] == ["a ", texts[1]]
    assert (site.engine.requests[0].request_id, (0,)) in site.engine.aborts


async def test_several_tokens_in_one_step_are_counted_through_the_one_that_completes(
    site: Site, tokenizer: Tokenizer
) -> None:
    site.engine.tokens_per_step = 5
    digits = tokenizer.encode("abcdefgh").ids
    site.engine.script = lambda request, index: digits
    body = (await site.chat(stop="d", logprobs=True)).json()
    through = next(n for n in range(1, len(digits) + 1) if "d" in tokenizer.decode(digits[:n]))
    assert body["choices"][0]["message"]["content"] == "abc"
    assert body["usage"]["completion_tokens"] == through
    assert len(body["choices"][0]["logprobs"]["content"]) == through


async def test_a_stop_token_is_counted_and_not_shown(site: Site, tokenizer: Tokenizer) -> None:
    stop = tokenizer.encode("!").ids[0]
    body = (await site.chat(stop_token_ids=[stop])).json()
    assert body["choices"][0]["message"]["content"] == "Hello, world"
    assert body["choices"][0]["stop_reason"] == stop
    assert body["usage"]["completion_tokens"] == len(tokenizer.encode("Hello, world!").ids)


async def test_an_answer_that_is_cut_shows_the_half_character_as_u_fffd(site: Site, tokenizer: Tokenizer) -> None:
    party = tokenizer.encode("ok 🦊").ids
    site.engine.script = lambda request, index: party
    body = (await site.chat(max_tokens=len(party) - 1)).json()
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["choices"][0]["message"]["content"] == tokenizer.decode(party[:-1])
    assert body["choices"][0]["message"]["content"].endswith("\ufffd")


@pytest.mark.parametrize("stream", [False, True])
async def test_logprobs_have_bytes_and_alternatives(site: Site, stream: bool, tokenizer: Tokenizer) -> None:
    entries: list[Any] = []
    if stream:
        chunks = await site.openai.chat.completions.create(
            model=MODEL, messages=MESSAGES, logprobs=True, top_logprobs=4, stream=True
        )
        async for chunk in chunks:
            if chunk.choices[0].logprobs:
                entries += chunk.choices[0].logprobs.content or []
    else:
        completion = await site.openai.chat.completions.create(
            model=MODEL, messages=MESSAGES, logprobs=True, top_logprobs=4
        )
        assert completion.choices[0].logprobs is not None
        entries = completion.choices[0].logprobs.content or []
    assert bytes(byte for entry in entries[:-1] for byte in entry.bytes).decode() == ANSWER
    assert entries[-1].token == "<|im_end|>"
    assert [top.logprob for top in entries[0].top_logprobs] == [-0.25, -0.5, -1.0, -9999.0]
    assert entries[0].logprob == -0.5
    assert entries[0].top_logprobs[1].token == entries[0].token


async def test_prompt_logprobs_are_in_the_shape_of_vllm(site: Site) -> None:
    body = (await site.chat(prompt_logprobs=1)).json()
    prompt = site.engine.requests[0].prompt[0].token_ids.ids
    first, second, *rest = body["prompt_logprobs"]
    assert first is None
    assert second[str(prompt[1])] == {
        "logprob": -0.5,
        "rank": 2,
        "decoded_token": second[str(prompt[1])]["decoded_token"],
    }
    assert second["5"]["rank"] == 1
    assert len(rest) == len(prompt) - 2


async def test_a_model_is_known_by_its_aliases_and_no_other_name(site: Site) -> None:
    assert (await site.chat(model="also/known-as")).json()["model"] == "also/known-as"
    response = await site.chat(model="gpt-4")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
