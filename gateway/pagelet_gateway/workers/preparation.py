"""From a request's body to its validated fields and the tokens of its prompt. Runs in a worker process, where it may
take long and may be ended; what it is given comes from anyone. Pure.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pagelet_api.openai.bodies import (
    ChatFields,
    ChatRequest,
    CompletionFields,
    CompletionRequest,
    DetokenizeRequest,
    Message,
    TemplateFields,
    TokenizeChatRequest,
    TokenizeRequest,
)
from pagelet_api.openai.errors import OpenAIError, context_length_exceeded, invalid, model_not_found
from pagelet_api.openai.fates import CHAT_REFUSED, COMPLETION_REFUSED, TOKENIZE_REFUSED
from pagelet_api.openai.parsing import Parsed, parse_body, parse_json
from pagelet_api.openai.responses import Detokenized, Tokenized

from pagelet_gateway.template import ChatTemplate, TemplateError
from pagelet_gateway.tokenizer import Tokenizer
from pagelet_gateway.workers.job import Job, Kind, Prepared, Refused

_PROBE_CHARACTERS = 2**18
"""A text that is longer is tried by its beginning first: most that cannot fit are known by then."""


@dataclass(frozen=True, slots=True)
class PromptModel:
    """What of a model it takes to make prompts of it."""

    tokenizer: Tokenizer
    template: ChatTemplate | None
    template_error: str
    vocab_size: int


@dataclass(frozen=True, slots=True)
class _Context:
    """A model, with the length that the engine at hand gives it."""

    model: PromptModel
    max_model_len: int

    def encode(self, text: str, add_special_tokens: bool, param: str) -> list[int]:
        """Raises OpenAIError 400 for a text that cannot fit, before tokenizing all of it."""
        tokenizer = self.model.tokenizer
        least = len(text) // tokenizer.longest_token_chars
        if least <= self.max_model_len and len(text) > _PROBE_CHARACTERS:
            # Only the tokens at the cut can come out otherwise, so half of what the beginning has is a safe bound.
            least = len(tokenizer.encode(text[:_PROBE_CHARACTERS], add_special_tokens=False)) // 2
        if least > self.max_model_len:
            raise context_length_exceeded(least, 0, self.max_model_len, param)
        return tokenizer.encode(text, add_special_tokens=add_special_tokens)


def prepare(job: Job, model: PromptModel | None) -> Prepared | Refused:
    """Never raises, but what ends the process: MemoryError, and faults of ours."""
    try:
        data = parse_json(job.body)
        parsed = _parse(job.kind, data)
    except OpenAIError as error:
        return Refused(error, by_field=True)
    try:
        body: Any = parsed.body
        if body.model is not None and body.model not in job.names:
            raise model_not_found(body.model)
        if model is None:
            return Prepared({})
        return _finish(job.kind, data, parsed, _Context(model, job.max_model_len))
    except OpenAIError as error:
        return Refused(error, by_field=False)


def _parse(kind: Kind, data: Mapping[str, Any]) -> Parsed[Any]:
    match kind:
        case Kind.CHAT:
            return parse_body(ChatRequest, data, CHAT_REFUSED)
        case Kind.COMPLETIONS:
            return parse_body(CompletionRequest, data, COMPLETION_REFUSED)
        case Kind.TOKENIZE if "messages" in data:
            return parse_body(TokenizeChatRequest, data, TOKENIZE_REFUSED)
        case Kind.TOKENIZE:
            return parse_body(TokenizeRequest, data, TOKENIZE_REFUSED)
        case Kind.DETOKENIZE:
            return parse_body(DetokenizeRequest, data, {})


def _finish(kind: Kind, data: Mapping[str, Any], parsed: Parsed[Any], context: _Context) -> Prepared:
    body = parsed.body
    match kind:
        case Kind.CHAT:
            tokens = _chat_tokens(body, bool(body.add_special_tokens), context)
            return Prepared(_left(data, ChatFields), parsed.ignored, (tokens,))
        case Kind.COMPLETIONS:
            prompts = _prompts(body, context)
            texts = _echoes(body, prompts, context.model.tokenizer) if body.echo else ()
            return Prepared(_left(data, CompletionFields), parsed.ignored, prompts, texts)
        case Kind.TOKENIZE:
            if isinstance(body, TokenizeChatRequest):
                tokens = _chat_tokens(body, bool(body.add_special_tokens), context)
            else:
                tokens = context.encode(body.prompt, body.add_special_tokens is not False, "prompt")
            return Prepared({}, parsed.ignored, content=_tokenized(tokens, bool(body.return_token_strs), context))
        case Kind.DETOKENIZE:
            return Prepared({}, parsed.ignored, content=_detokenized(body, context.model))


def _left(data: Mapping[str, Any], fields: type[ChatFields] | type[CompletionFields]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name in fields.model_fields}


def _prompts(body: CompletionRequest, context: _Context) -> tuple[list[int], ...]:
    add_special_tokens = body.add_special_tokens is not False
    return tuple(
        context.encode(prompt, add_special_tokens, "prompt")
        if isinstance(prompt, str)
        else _known(prompt, context.model, "prompt")
        for prompt in body.prompt
    )


def _known(tokens: list[int], model: PromptModel, param: str) -> list[int]:
    """The tokens, all of which the model has. Raises OpenAIError 400."""
    largest, last = max(tokens, default=0), model.vocab_size - 1
    if largest > last:
        raise invalid(f"{param}: this model's token ids end at {last}, found {largest}.", param)
    return tokens


def _echoes(body: CompletionRequest, prompts: tuple[list[int], ...], tokenizer: Tokenizer) -> tuple[str, ...]:
    """A text as it was sent; tokens as what they say."""
    skip = body.skip_special_tokens is not False
    return tuple(
        prompt if isinstance(prompt, str) else tokenizer.decode(tokens, skip_special_tokens=skip)
        for prompt, tokens in zip(body.prompt, prompts, strict=True)
    )


def _tokenized(tokens: list[int], with_names: bool, context: _Context) -> bytes:
    tokenizer = context.model.tokenizer
    answer: Tokenized = {
        "count": len(tokens),
        "max_model_len": context.max_model_len,
        "tokens": tokens,
        "token_strs": [tokenizer.token_name(token) for token in tokens] if with_names else None,
    }
    return _json(answer)


def _detokenized(body: DetokenizeRequest, model: PromptModel) -> bytes:
    tokens = _known(body.tokens, model, "tokens")
    answer: Detokenized = {"prompt": model.tokenizer.decode(tokens, skip_special_tokens=False)}
    return _json(answer)


def _json(answer: object) -> bytes:
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()


def _chat_tokens(body: TemplateFields, add_special_tokens: bool, context: _Context) -> list[int]:
    """Raises OpenAIError 400, with the template's own sentence where it has one."""
    template = context.model.template
    if template is None:
        raise invalid(f"messages: {context.model.template_error}; use /v1/completions.", "messages", "no_chat_template")
    variables: dict[str, Any] = dict(body.chat_template_kwargs or {})
    if body.documents is not None:
        variables["documents"] = body.documents
    if body.reasoning_effort is not None:
        variables["reasoning_effort"] = body.reasoning_effort
    continues = bool(body.continue_final_message)
    begins = not continues if body.add_generation_prompt is None else body.add_generation_prompt
    try:
        text = template.render(
            [_as_template_sees_it(message) for message in body.messages],
            add_generation_prompt=begins,
            continue_final_message=continues,
            variables=variables,
        )
    except TemplateError as error:
        raise invalid(f"messages: {error}.", "messages", "chat_template_error") from error
    return context.encode(text, add_special_tokens, "messages")


def _as_template_sees_it(message: Message) -> dict[str, Any]:
    extra = {name: value for name, value in (message.model_extra or {}).items() if value is not None}
    return {**extra, "role": message.role, "content": message.content}
