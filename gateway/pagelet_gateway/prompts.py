"""From what a client wrote to the tokens of a prompt: templates and tokenizing, off the event loop where they last.

A template is a program from the model's folder: it always runs in a thread. Short texts are tokenized in place, which
is quicker than waking a thread.
"""

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from pagelet_api.openai.bodies import Message, TemplateFields
from pagelet_api.openai.errors import context_length_exceeded, invalid

from pagelet_gateway.model import ServedModel
from pagelet_gateway.template import TemplateError

_SHORT_CHARACTERS = 2048


@dataclass(frozen=True, slots=True)
class Prompt:
    tokens: list[int]
    text: str | None = None
    """None where the client sent tokens."""


class Prompter:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def text(self, model: ServedModel, text: str, *, add_special_tokens: bool) -> Prompt:
        """Raises OpenAIError 400 for a text that cannot fit, before tokenizing all of it."""
        if len(text) <= _SHORT_CHARACTERS:
            return Prompt(model.tokenizer.encode(text, add_special_tokens=add_special_tokens), text)
        return await self._in_thread(_encode_long, model, text, add_special_tokens, "prompt")

    async def chat(self, model: ServedModel, body: TemplateFields, *, add_special_tokens: bool) -> Prompt:
        """Raises OpenAIError 400, with the template's own sentence where it has one."""
        return await self._in_thread(_encode_chat, model, body, add_special_tokens)

    async def _in_thread(self, function: Any, *arguments: Any) -> Prompt:
        prompt: Prompt = await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)
        return prompt


def _encode_long(model: ServedModel, text: str, add_special_tokens: bool, param: str) -> Prompt:
    least = len(text) // model.tokenizer.longest_token_chars
    if least > model.info.max_model_len:
        raise context_length_exceeded(least, 0, model.info.max_model_len, param)
    return Prompt(model.tokenizer.encode_long(text, add_special_tokens=add_special_tokens), text)


def _encode_chat(model: ServedModel, body: TemplateFields, add_special_tokens: bool) -> Prompt:
    if model.template is None:
        raise invalid(f"messages: {model.template_error}; use /v1/completions.", "messages", "no_chat_template")
    variables: dict[str, Any] = dict(body.chat_template_kwargs or {})
    if body.documents is not None:
        variables["documents"] = body.documents
    if body.reasoning_effort is not None:
        variables["reasoning_effort"] = body.reasoning_effort
    continues = bool(body.continue_final_message)
    begins = not continues if body.add_generation_prompt is None else body.add_generation_prompt
    try:
        text = model.template.render(
            [_as_template_sees_it(message) for message in body.messages],
            add_generation_prompt=begins,
            continue_final_message=continues,
            variables=variables,
        )
    except TemplateError as error:
        raise invalid(f"messages: {error}.", "messages", "chat_template_error") from error
    return _encode_long(model, text, add_special_tokens, "messages")


def _as_template_sees_it(message: Message) -> dict[str, Any]:
    extra = {name: value for name, value in (message.model_extra or {}).items() if value is not None}
    return {**extra, "role": message.role, "content": message.content}
