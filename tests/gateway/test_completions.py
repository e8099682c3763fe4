"""Legacy completions: every form of prompt, echo, and their logprobs."""

import pytest
from tokenizers import Tokenizer

from .conftest import ANSWER, MODEL, Site

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_answers_each_form_of_prompt(site: Site, tokenizer: Tokenizer) -> None:
    hi, ho = tokenizer.encode("Hi").ids, tokenizer.encode("Ho ho").ids
    for prompt, sent in (("Hi", [hi]), (["Hi", "Ho ho"], [hi, ho]), (hi, [hi]), ([hi, ho], [hi, ho])):
        site.engine.requests.clear()
        body = (await site.complete(prompt=prompt)).json()
        assert [choice["text"] for choice in body["choices"]] == [ANSWER] * len(sent)
        assert [list(request.prompt[0].token_ids.ids) for request in site.engine.requests] == sent
        assert body["usage"]["prompt_tokens"] == sum(map(len, sent))


async def test_choices_of_several_prompts_are_numbered_through(site: Site, tokenizer: Tokenizer) -> None:
    def script(request, index):  # type: ignore[no-untyped-def]
        return [*request.prompt[0].token_ids.ids, *tokenizer.encode(str(index)).ids, 2]

    site.engine.script = script
    completion = await site.openai.completions.create(model=MODEL, prompt=["a", "b"], n=2, max_tokens=50)
    assert [(choice.index, choice.text) for choice in completion.choices] == [
        (0, "a0"),
        (1, "a1"),
        (2, "b0"),
        (3, "b1"),
    ]


async def test_streams_all_choices_with_echo(site: Site) -> None:
    stream = await site.openai.completions.create(
        model=MODEL, prompt=["one", "two"], max_tokens=50, stream=True, echo=True
    )
    texts = ["", ""]
    async for chunk in stream:
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == ["one" + ANSWER, "two" + ANSWER]


async def test_sixteen_tokens_are_the_default_and_shrink_to_what_fits(site: Site) -> None:
    await site.complete(max_tokens=None)
    await site.complete(prompt=[5] * 2040, max_tokens=None)
    assert [request.sampling.max_tokens for request in site.engine.requests] == [16, 8]


async def test_logprobs_are_lists_with_offsets_into_the_text(site: Site, tokenizer: Tokenizer) -> None:
    completion = await site.openai.completions.create(model=MODEL, prompt="Hi", logprobs=2, max_tokens=6)
    logprobs = completion.choices[0].logprobs
    assert logprobs is not None
    tokens = logprobs.tokens or []
    assert "".join(tokens) == completion.choices[0].text
    assert logprobs.text_offset == [len("".join(tokens[:number])) for number in range(6)]
    assert logprobs.token_logprobs == [-0.5] * 6
    assert (logprobs.top_logprobs or [])[0] == {tokenizer.decode([5]): -0.25, tokens[0]: -0.5}


async def test_fragments_of_a_character_are_named_by_their_bytes(site: Site, tokenizer: Tokenizer) -> None:
    fox = tokenizer.encode("🦊x").ids
    site.engine.script = lambda request, index: fox
    body = (await site.complete(logprobs=0, max_tokens=len(fox))).json()
    logprobs = body["choices"][0]["logprobs"]
    assert body["choices"][0]["text"] == "🦊x"
    assert [token for token in logprobs["tokens"] if not token.startswith("bytes:\\x")] == ["x"]
    assert logprobs["text_offset"] == [0] * (len(fox) - 1) + [1]


async def test_echo_with_logprobs_scores_the_prompt(site: Site, tokenizer: Tokenizer) -> None:
    text = "The quick brown fox"
    tokens = tokenizer.encode(text).ids
    body = (await site.complete(prompt=text, echo=True, logprobs=1, max_tokens=2)).json()
    logprobs = body["choices"][0]["logprobs"]
    assert body["choices"][0]["text"].startswith(text)
    assert "".join(logprobs["tokens"]) == body["choices"][0]["text"]
    assert logprobs["token_logprobs"] == [None] + [-0.5] * (len(tokens) + 1)
    assert logprobs["top_logprobs"][0] is None
    assert len(logprobs["text_offset"]) == len(tokens) + 2


async def test_max_tokens_zero_only_scores(site: Site) -> None:
    body = (await site.complete(prompt="The quick", echo=True, logprobs=0, max_tokens=0)).json()
    assert body["choices"][0]["text"] == "The quick"
    assert "".join(body["choices"][0]["logprobs"]["tokens"]) == "The quick"
    assert body["usage"]["completion_tokens"] == 0
    response = await site.complete(max_tokens=0)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "max_tokens")


async def test_prompt_logprobs_are_given_by_choice(site: Site) -> None:
    body = (await site.complete(prompt=["one", "two three"], prompt_logprobs=1, max_tokens=1)).json()
    lengths = [len(request.prompt[0].token_ids.ids) for request in site.engine.requests]
    assert [len(choice["prompt_logprobs"]) for choice in body["choices"]] == lengths


@pytest.mark.parametrize("stream", [False, True])
async def test_special_tokens_are_shown_on_request(site: Site, tokenizer: Tokenizer, stream: bool) -> None:
    start = tokenizer.token_to_id("<|im_start|>")
    site.engine.script = lambda request, index: [start, *tokenizer.encode("x").ids]
    hidden = await site.complete(max_tokens=2, stream=stream)
    shown = await site.complete(max_tokens=2, stream=stream, skip_special_tokens=False)
    assert "im_start" not in hidden.text
    assert "<|im_start|>" in shown.text
