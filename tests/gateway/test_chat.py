"""Chat completions as the official client sees them."""

from .conftest import ANSWER, MODEL, Site

MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]


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
