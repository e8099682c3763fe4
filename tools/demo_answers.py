"""Questions asked at once with the `openai` client, and their answers as they stream in.

Owns asking, timing and showing text; refuses to know where the service runs.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam


@dataclass
class Answer:
    """One question and what came back; times in seconds from when it was asked."""

    question: str
    text: str = ""
    first_token_s: float = 0.0
    last_token_s: float = 0.0
    tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompt: found in the prefix cache."""

    @property
    def tokens_per_s(self) -> float:
        """After the first token."""
        return (self.tokens - 1) / (self.last_token_s - self.first_token_s) if self.tokens > 1 else 0.0


@dataclass
class Conversation:
    messages: list[ChatCompletionMessageParam] = field(default_factory=list)


async def ask_all(
    client: AsyncOpenAI, model: str, conversations: Sequence[Conversation], questions: Sequence[str], max_tokens: int
) -> list[Answer]:
    """Ask one question in each conversation, all at once, printing the answers in order as they come."""
    answers = [Answer(question) for question in questions]
    page = _Page(answers)
    await asyncio.gather(
        *(
            _ask(client, model, conversation, answer, max_tokens, page)
            for conversation, answer in zip(conversations, answers, strict=True)
        )
    )
    return answers


async def _ask(
    client: AsyncOpenAI, model: str, conversation: Conversation, answer: Answer, max_tokens: int, page: "_Page"
) -> None:
    conversation.messages.append({"role": "user", "content": answer.question})
    asked_s = time.monotonic()
    stream = await client.chat.completions.create(
        model=model,
        messages=conversation.messages,
        temperature=0,
        max_tokens=max_tokens,
        stream=True,
        stream_options={"include_usage": True},
    )
    async for chunk in stream:
        if chunk.choices and (piece := chunk.choices[0].delta.content):
            answer.last_token_s = time.monotonic() - asked_s
            answer.first_token_s = answer.first_token_s or answer.last_token_s
            answer.text += piece
            page.show()
        if chunk.usage:
            answer.tokens = chunk.usage.completion_tokens
            answer.prompt_tokens = chunk.usage.prompt_tokens
            details = chunk.usage.prompt_tokens_details
            answer.cached_tokens = (details.cached_tokens or 0) if details else 0
    conversation.messages.append({"role": "assistant", "content": answer.text})
    page.finish(answer)


class _Page:
    """Answers below each other: one streams onto the page, those below it wait until it is their turn."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self._answers = answers
        self._finished: set[int] = set()
        self._current = 0
        self._shown = 0
        self._headed = -1

    def finish(self, answer: Answer) -> None:
        self._finished.add(id(answer))
        self.show()

    def show(self) -> None:
        """Print all that can be printed by now."""
        while self._current < len(self._answers):
            answer = self._answers[self._current]
            if self._headed < self._current:
                sys.stdout.write(f"  > {answer.question}\n    ")
                self._headed = self._current
            sys.stdout.write(answer.text[self._shown :].replace("\n", "\n    "))
            self._shown = len(answer.text)
            sys.stdout.flush()
            if id(answer) not in self._finished:
                return
            sys.stdout.write("\n\n")
            self._current, self._shown = self._current + 1, 0
