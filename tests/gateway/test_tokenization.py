"""/tokenize, /detokenize and /v1/models."""

import pytest
from tokenizers import Tokenizer

from .conftest import MODEL, Site

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_text_becomes_tokens_and_text_again(site: Site, tokenizer: Tokenizer) -> None:
    text = "naïve café 🎉"
    body = (await site.post("/tokenize", {"model": MODEL, "prompt": text, "return_token_strs": True})).json()
    assert body["tokens"] == tokenizer.encode(text).ids
    assert (body["count"], body["max_model_len"]) == (len(body["tokens"]), 2048)
    assert body["token_strs"] == tokenizer.encode(text).tokens
    assert (await site.post("/detokenize", {"tokens": body["tokens"]})).json() == {"prompt": text}


async def test_a_conversation_becomes_the_tokens_that_chat_would_send(site: Site) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    body = (await site.post("/tokenize", {"messages": messages})).json()
    await site.chat(messages=messages)
    assert body["tokens"] == list(site.engine.requests[0].prompt[0].token_ids.ids)
    assert body["token_strs"] is None
    without = (await site.post("/tokenize", {"messages": messages, "add_generation_prompt": False})).json()
    assert without["count"] < body["count"]


async def test_special_tokens_are_part_of_a_detokenized_text(site: Site) -> None:
    assert (await site.post("/detokenize", {"tokens": [1, 2]})).json() == {"prompt": "<|im_start|><|im_end|>"}


async def test_a_long_text_is_tokenized_as_a_short_one_is(site: Site, tokenizer: Tokenizer) -> None:
    text = "Hello, world! " * 700
    body = (await site.post("/tokenize", {"prompt": text})).json()
    assert body["tokens"] == tokenizer.encode(text).ids


async def test_wrong_requests_are_refused(site: Site) -> None:
    for path, body, param in (
        ("/detokenize", {"tokens": [10**6]}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens[0]"),
        ("/detokenize", {"tokens": "abc"}, "tokens"),
        ("/tokenize", {"prompt": ["a"]}, "prompt"),
        ("/tokenize", {"prompt": "a", "promt": "b"}, "promt"),
        ("/tokenize", {"messages": [{"role": "user", "content": "x"}], "tools": [{}]}, "tools"),
    ):
        response = await site.post(path, body)
        assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert (await site.post("/tokenize", {"model": "x", "prompt": "a"})).status_code == 404


async def test_models_are_listed_under_every_name(site: Site) -> None:
    listed = [model async for model in await site.openai.models.list()]
    assert [model.id for model in listed] == [MODEL, "also/known-as"]
    one = await site.openai.models.retrieve("also/known-as")
    assert (one.object, one.created, one.to_dict()["max_model_len"]) == ("model", 1_700_000_000, 2048)
