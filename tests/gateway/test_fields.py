"""Every field of every body: what becomes of it. The page docs/openai-api.md is made from the same tables."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from pagelet_api import inference_pb2 as pb
from pagelet_api.openai.bodies import ChatRequest, CompletionRequest
from pagelet_api.openai.fates import ACTED_ON, CHAT_REFUSED, COMPLETION_REFUSED, IGNORED
from tokenizers.processors import TemplateProcessing

from .conftest import MODEL, Site
from .tokenizers_made_here import byte_level, model_files

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
BASE: dict[str, dict[str, Any]] = {
    CHAT: {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]},
    COMPLETIONS: {"model": MODEL, "prompt": "Hi"},
}

Seen = Callable[[pb.GenerateRequest], Any]
SENT: dict[str, tuple[Any, Seen, Any]] = {
    "n": (3, lambda r: r.sampling.n, 3),
    "max_tokens": (7, lambda r: r.sampling.max_tokens, 7),
    "min_tokens": (4, lambda r: r.sampling.min_tokens, 4),
    "temperature": (0.5, lambda r: r.sampling.temperature, 0.5),
    "top_p": (0.25, lambda r: r.sampling.top_p, 0.25),
    "top_k": (40, lambda r: r.sampling.top_k, 40),
    "min_p": (0.125, lambda r: r.sampling.min_p, 0.125),
    "repetition_penalty": (1.5, lambda r: r.sampling.repetition_penalty, 1.5),
    "presence_penalty": (-1.5, lambda r: r.sampling.presence_penalty, -1.5),
    "frequency_penalty": (2, lambda r: r.sampling.frequency_penalty, 2.0),
    "logit_bias": ({"42": -100, "7": 2.5}, lambda r: dict(r.sampling.logit_bias), {42: -100.0, 7: 2.5}),
    "seed": (-1, lambda r: r.sampling.seed, 2**64 - 1),
    "stop_token_ids": ([5, 6], lambda r: list(r.sampling.stop_token_ids), [5, 6]),
    "ignore_eos": (True, lambda r: r.sampling.ignore_eos, True),
    "prompt_logprobs": (2, lambda r: r.sampling.prompt_logprobs, 2),
    "priority": (3, lambda r: r.priority, -3),
    "cache_salt": ("secret", lambda r: r.cache_salt, "secret"),
}
"""Fields that reach the engine: a value, where to look, what must be there."""

SENT_BY_CHAT = {"max_completion_tokens": (9, lambda r: r.sampling.max_tokens, 9)}

SHOWN_ELSEWHERE = {
    "model": "test_chat",
    "messages": "test_chat",
    "prompt": "test_completions",
    "echo": "test_completions",
    "stream": "test_chat",
    "stream_options": "test_chat",
    "stop": "test_chat",
    "logprobs": "test_chat, test_completions",
    "top_logprobs": "test_chat",
    "skip_special_tokens": "test_completions",
    "continue_final_message": "test_chat",
    "add_generation_prompt": "here, with the template",
    "chat_template_kwargs": "here, with the template",
    "documents": "here, with the template",
    "reasoning_effort": "here, with the template",
    "add_special_tokens": "here, with the tokens",
    "include_stop_str_in_output": "here",
}


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_fields_reach_the_engine(site: Site, path: str) -> None:
    for name, (value, seen, wanted) in {**SENT, **(SENT_BY_CHAT if path == CHAT else {})}.items():
        site.engine.requests.clear()
        response = await site.post(path, {**BASE[path], name: value})
        assert response.status_code == 200, (name, response.text)
        assert seen(site.engine.requests[0]) == wanted, name


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_null_and_absence_mean_the_default(site: Site, path: str) -> None:
    nulls = dict.fromkeys(name for name in (ChatRequest if path == CHAT else CompletionRequest).model_fields)
    await site.post(path, BASE[path])
    response = await site.post(path, {**nulls, **BASE[path]})
    assert response.status_code == 200, response.text
    absent, null = (request.sampling for request in site.engine.requests)
    assert absent == null
    assert (null.n, null.temperature, null.top_p, null.HasField("seed")) == (1, 1.0, 1.0, False)


async def test_every_field_that_is_acted_on_has_its_test() -> None:
    tested = SENT.keys() | SHOWN_ELSEWHERE.keys() | SENT_BY_CHAT.keys()
    assert tested == ChatRequest.model_fields.keys() | CompletionRequest.model_fields.keys() == ACTED_ON.keys()


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_ignored_fields_change_nothing_and_are_counted(site: Site, path: str) -> None:
    before = await counts(site)
    response = await site.post(path, {**BASE[path], **dict.fromkeys(IGNORED, "anything")})
    assert response.status_code == 200
    after = await counts(site)
    assert {name: after[name] - before.get(name, 0) for name in after} == dict.fromkeys(IGNORED, 1)


async def counts(site: Site) -> dict[str, float]:
    """How often each field was ignored so far."""
    lines = (await site.http.get(f"{site.ops_url}/metrics")).text.splitlines()
    rows = (line.split(" ") for line in lines if line.startswith("pagelet:gateway_ignored_fields_total{"))
    return {row[0].split('"')[1]: float(row[1]) for row in rows}


@pytest.mark.parametrize(("path", "refused"), [(CHAT, CHAT_REFUSED), (COMPLETIONS, COMPLETION_REFUSED)])
async def test_refused_fields_are_refused_by_name_unless_they_ask_for_nothing(
    site: Site, path: str, refused: Any
) -> None:
    for name, refusal in refused.items():
        response = await site.post(path, {**BASE[path], name: {"some": "thing"}})
        error = response.json()["error"]
        assert (response.status_code, error["param"], error["code"]) == (400, name, "unsupported_parameter")
        assert refusal.sentence in error["message"]
        for neutral in (None, *refusal.neutral):
            response = await site.post(path, {**BASE[path], name: neutral})
            assert response.status_code == 200, (name, neutral, response.text)


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_an_unknown_field_is_refused_with_the_name_it_resembles(site: Site, path: str) -> None:
    response = await site.post(path, {**BASE[path], "max_tokns": 5})
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (400, "max_tokns", "unknown_parameter")
    assert "Did you mean max_tokens?" in error["message"]


WRONG: list[tuple[str, Any, str]] = [
    ("n", 10**9, "less than or equal to 128"),
    ("n", 0, "greater than or equal to 1"),
    ("n", 17, "at most 16"),
    ("n", "3", "valid integer"),
    ("n", 1.5, "valid integer"),
    ("n", True, "valid integer"),
    ("max_tokens", -1, "greater than or equal to 0"),
    ("max_tokens", 10**30, "less than or equal to"),
    ("temperature", -0.1, "greater than or equal to 0"),
    ("temperature", 2.1, "less than or equal to 2"),
    ("temperature", "hot", "valid number"),
    ("temperature", [1], "valid number"),
    ("top_p", 1.01, "less than or equal to 1"),
    ("top_k", -2, "greater than or equal to -1"),
    ("min_p", 2, "less than or equal to 1"),
    ("repetition_penalty", 0, "greater than or equal to 0.01"),
    ("presence_penalty", -3, "greater than or equal to -2"),
    ("frequency_penalty", 3, "less than or equal to 2"),
    ("seed", 2**64, "less than"),
    ("stop", ["x"] * 1_000_000, "at most 32 stop strings, found 1000000"),
    ("stop", [1], "wanted strings"),
    ("stop", [""], "empty stop string"),
    ("stop", "x" * 2000, "at most 1024 characters"),
    ("stop", {"a": 1}, "string or a list"),
    ("stop_token_ids", "5", "list of token ids"),
    ("stop_token_ids", [True], "list of token ids"),
    ("stop_token_ids", [10**6], "token ids end at"),
    ("stop_token_ids", [1] * 300, "at most 256"),
    ("logit_bias", {str(token): 1 for token in range(2000)}, "at most 1024 tokens, found 2000"),
    ("logit_bias", {str(token): 1 for token in range(200)}, "at most 100"),
    ("logit_bias", {"one": 1}, "token ids as keys"),
    ("logit_bias", {"1": 101}, "from -100 to 100"),
    ("logit_bias", {"1": "x"}, "from -100 to 100"),
    ("logit_bias", {"99999": 1}, "token ids end at"),
    ("logit_bias", [1], "wanted an object"),
    ("prompt_logprobs", 9, "at most 8"),
    ("cache_salt", "", "at least 1 character"),
    ("cache_salt", "x" * 1000, "at most 128 characters"),
    ("priority", 2**40, "less than"),
    ("model", 5, "valid string"),
    ("stream", "yes", "valid boolean"),
    ("stream_options", {"include_usage": True}, "together with stream"),
    ("min_tokens", 300, "at most max_tokens, 5"),
]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_wrong_values_are_refused_with_name_bound_and_finding(site: Site, path: str) -> None:
    for name, value, part in WRONG:
        response = await site.post(path, {**BASE[path], "max_tokens": 5, name: value})
        error = response.json()["error"]
        shown = (name, str(value)[:50], error)
        assert response.status_code == 400, shown
        assert error["param"] == name, shown
        assert error["type"] == "invalid_request_error", shown
        assert part in error["message"], shown
        assert len(error["message"]) < 400, shown
    assert (await site.post(path, BASE[path])).status_code == 200
    assert len(site.engine.requests) == 1, "nothing wrong reached the engine"


WRONG_MESSAGES: list[tuple[Any, str]] = [
    (None, "valid list"),
    ([], "at least 1 item"),
    ("Hi", "valid list"),
    ([{"content": "no role"}], "messages[0].role: this field is required"),
    (["Hi"], "messages[0]"),
    ([{"role": "user", "content": 5}], "string or a list of parts"),
    ([{"role": "user", "content": [{"type": "text"}]}], "wanted parts like"),
    ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], "images (image_url)"),
    ([{"role": "user", "content": [{"type": "input_audio"}]}], "audio (input_audio)"),
    ([{"role": "tool", "content": "5", "tool_call_id": "x"}], "tool calls are not supported yet"),
    ([{"role": "assistant", "tool_calls": [{"id": "x"}]}], "tool calls are not supported yet"),
]


async def test_wrong_messages_are_refused_with_their_place(site: Site) -> None:
    for messages, part in WRONG_MESSAGES:
        response = await site.chat(messages=messages)
        error = response.json()["error"]
        assert response.status_code == 400, (messages, error)
        assert error["param"].startswith("messages"), (messages, error)
        assert part in error["message"], (messages, error)


WRONG_PROMPTS: list[tuple[Any, str]] = [
    ("", "empty prompt"),
    ([], "found a list of 0"),
    ([[]], "prompt 0"),
    ([1, "a"], "prompt 0"),
    (["a", [1]], "prompt 0"),
    ([[1], "a"], "prompt 1"),
    ([-1], "token id -1"),
    ([1, 10**6], "token ids end at"),
    ([[1, 10**12]], "token id 1000000000000"),
    ([True], "prompt 0"),
    (["a"] * 300, "at most 256 prompts"),
    ({"text": "a"}, "found an object"),
    (None, "found None"),
]


async def test_wrong_prompts_are_refused(site: Site) -> None:
    for prompt, part in WRONG_PROMPTS:
        response = await site.complete(prompt=prompt)
        error = response.json()["error"]
        assert (response.status_code, error["param"]) == (400, "prompt"), (str(prompt)[:50], error)
        assert part in error["message"], (str(prompt)[:50], error)


async def test_more_choices_than_a_request_may_have_are_refused(site: Site) -> None:
    response = await site.complete(prompt=["a"] * 100, n=16)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "n")


async def test_too_long_a_context_is_refused_with_the_numbers(site: Site) -> None:
    cases = [
        (await site.complete(prompt=[5] * 2048), "2048 tokens", "prompt"),
        (await site.complete(prompt=[5] * 2000, max_tokens=100), "2100 tokens", "max_tokens"),
        (await site.chat(messages=[{"role": "user", "content": "word " * 2500}]), "2048 tokens", "messages"),
        (await site.chat(max_tokens=None, max_completion_tokens=5000), "5000 for the", "max_completion_tokens"),
    ]
    for response, part, param in cases:
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", param)
        assert part in error["message"]


async def test_a_prompt_far_too_long_is_refused_before_it_is_tokenized(site: Site) -> None:
    response = await site.complete(prompt="x" * 7_000_000)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "context_length_exceeded")


async def test_a_tiny_temperature_is_greedy_and_top_p_zero_keeps_one_token(site: Site) -> None:
    await site.chat(temperature=1e-40, top_p=0)
    sampling = site.engine.requests[0].sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0.0, 1, 1.0)
    assert not math.isnan(sampling.min_p)


async def test_a_stop_string_is_shown_on_request(site: Site) -> None:
    body = (await site.chat(stop="world", include_stop_str_in_output=True)).json()
    assert body["choices"][0]["message"]["content"] == "Hello, world"


async def test_stop_strings_wait_for_min_tokens(site: Site, tokenizer: Any) -> None:
    first = len(tokenizer.encode("Hello, world! ").ids)
    body = (await site.chat(stop="o", min_tokens=first)).json()
    assert body["choices"][0]["message"]["content"].startswith("Hello, world!")
    assert body["choices"][0]["finish_reason"] == "stop"


async def test_add_special_tokens_is_up_to_the_client(open_site: Any, tokenizer: Any) -> None:
    with_start = byte_level()
    with_start.post_processor = TemplateProcessing(single="<|im_start|> $0", special_tokens=[("<|im_start|>", 1)])
    async with open_site() as site:
        site.engine.files = model_files(with_start)
        site.engine.info.digest = "sha256:other"
        await site.engine.restart()
        await site.until_model("sha256:other")
        await site.complete(prompt="Hi")
        await site.complete(prompt="Hi", add_special_tokens=False)
        await site.chat(add_special_tokens=True)
        await site.chat()
    firsts = [request.prompt[0].token_ids.ids[:2] for request in site.engine.requests[-4:]]
    assert [first[0] == 1 for first in firsts] == [True, False, True, True]
    assert [first[1] == 1 for first in firsts] == [False, False, True, False]


async def test_template_variables_reach_the_template(open_site: Any, tokenizer: Any) -> None:
    source = (
        "{{ mood }}|{{ reasoning_effort }}|{{ documents[0].title }}|{{ messages[0].name }}|{{ add_generation_prompt }}"
    )
    async with open_site() as site:
        site.engine.files = model_files(tokenizer, source)
        site.engine.info.digest = "sha256:other"
        await site.engine.restart()
        await site.until_model("sha256:other")
        await site.chat(
            messages=[{"role": "user", "content": "Hi", "name": "Ann"}],
            chat_template_kwargs={"mood": "calm"},
            reasoning_effort="low",
            documents=[{"title": "T"}],
            add_generation_prompt=False,
        )
        sent = site.engine.requests[-1].prompt[0].token_ids.ids
    assert tokenizer.decode(sent) == "calm|low|T|Ann|False"


async def test_the_model_s_generation_config_gives_the_defaults(open_site: Any, tokenizer: Any) -> None:
    async with open_site() as site:
        site.engine.files["generation_config.json"] = b'{"temperature": 0.5, "top_k": 20, "top_p": 0.75}'
        site.engine.info.digest = "sha256:other"
        await site.engine.restart()
        await site.until_model("sha256:other")
        await site.chat()
        await site.chat(temperature=1, top_k=-1, top_p=1)
    told, overridden = (request.sampling for request in site.engine.requests[-2:])
    assert (told.temperature, told.top_k, told.top_p) == (0.5, 20, 0.75)
    assert (overridden.temperature, overridden.top_k, overridden.top_p) == (1.0, 0, 1.0)
