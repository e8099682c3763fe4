"""The request bodies of the OpenAI routes: types, bounds and defaults of every field that is acted on.

What becomes of the other fields is in `fates`. Every optional field may be null, which means its default.
"""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pagelet_api.openai import bounds
from pagelet_api.openai.values import Content, LogitBias, Prompts, StopStrings, StopTokenIds

Tokens = Annotated[int, Field(ge=0, le=bounds.MAX_TOKENS)]
Name = Annotated[str, Field(min_length=1, max_length=bounds.MAX_NAME_CHARACTERS)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
JsonObject = dict[str, object]


class _Body(BaseModel):
    # Strict: "1" is no number and true is no 1, as OpenAI has it. hide_input: errors are written by `parsing`.
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)


class StreamOptions(_Body):
    include_usage: bool | None = None
    """End the stream with a chunk that has the usage and no choices."""
    include_obfuscation: bool | None = None
    """OpenAI pads chunks against traffic analysis; accepted, and never done."""

    @model_validator(mode="before")
    @classmethod
    def _has_few_fields(cls, value: object) -> object:
        # Each unknown field would become an error of its own.
        if isinstance(value, dict) and len(value) > bounds.MAX_STREAM_OPTIONS:
            raise ValueError(f"wanted at most {bounds.MAX_STREAM_OPTIONS} fields, found {len(value)}")
        return value


class SamplingFields(_Body):
    """What chat and completions have in common: how tokens are drawn and when a sample ends."""

    model: Name
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=bounds.MAX_N)] | None = None
    max_tokens: Tokens | None = None
    min_tokens: Tokens | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=bounds.MAX_TOKENS)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=10)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: LogitBias = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)] | None = None
    stop: StopStrings = None
    stop_token_ids: StopTokenIds = None
    include_stop_str_in_output: bool | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    prompt_logprobs: Annotated[int, Field(ge=0, le=bounds.MAX_TOP_LOGPROBS)] | None = None
    add_special_tokens: bool | None = None
    priority: Annotated[int, Field(gt=-(2**31), lt=2**31)] | None = None
    """As vLLM has it: lower is earlier."""
    cache_salt: Annotated[str, Field(min_length=1, max_length=bounds.MAX_CACHE_SALT_CHARACTERS)] | None = None

    @model_validator(mode="after")
    def _streams_agree(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options: only allowed together with stream: true")
        if self.stream and self.prompt_logprobs is not None:
            raise ValueError("prompt_logprobs: not available in a stream; leave out stream, or prompt_logprobs")
        return self


class Message(BaseModel):
    """One turn. Fields beyond role and content are handed to the chat template as they are."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True, hide_input_in_errors=True)

    role: Name
    content: Content = ""

    @model_validator(mode="after")
    def _has_no_tool_calls(self) -> Self:
        extra = self.model_extra or {}
        if self.role in ("tool", "function") or extra.get("tool_calls") or extra.get("function_call"):
            raise ValueError("tool calls are not supported yet: neither in tools nor in the messages")
        return self


# fail_fast: the first wrong item ends the validation, or a list of a million would become a million errors.
Messages = Annotated[list[Message], Field(min_length=1, max_length=bounds.MAX_MESSAGES, fail_fast=True)]
Documents = Annotated[list[JsonObject], Field(max_length=bounds.MAX_DOCUMENTS, fail_fast=True)]
TemplateVariables = Annotated[JsonObject, Field(max_length=bounds.MAX_TEMPLATE_VARIABLES)]
TokenId = Annotated[int, Field(ge=0, lt=2**32)]
TokenIds = Annotated[list[TokenId], Field(max_length=bounds.MAX_TOKEN_IDS, fail_fast=True)]


class TemplateFields(_Body):
    """What a chat template is given."""

    messages: Messages
    add_generation_prompt: bool | None = None
    """Default true, unless continue_final_message."""
    continue_final_message: bool | None = None
    chat_template_kwargs: TemplateVariables | None = None
    documents: Documents | None = None
    reasoning_effort: Annotated[str, Field(max_length=32)] | None = None

    @model_validator(mode="after")
    def _begins_or_continues(self) -> Self:
        if self.add_generation_prompt and self.continue_final_message:
            raise ValueError("continue_final_message: cannot be combined with add_generation_prompt: true")
        return self


class ChatFields(SamplingFields):
    """POST /v1/chat/completions, but for what its template is given: what is left once there is a prompt."""

    max_completion_tokens: Tokens | None = None
    """The newer name of max_tokens; wins where both are given."""
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=bounds.MAX_TOP_LOGPROBS)] | None = None

    @model_validator(mode="after")
    def _top_needs_logprobs(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs: only allowed together with logprobs: true")
        return self


class ChatRequest(ChatFields, TemplateFields):
    """POST /v1/chat/completions."""


class CompletionFields(SamplingFields):
    """POST /v1/completions, but for its prompts."""

    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=bounds.MAX_TOP_LOGPROBS)] | None = None

    @model_validator(mode="after")
    def _echo_of_logprobs_is_whole(self) -> Self:
        if self.stream and self.echo and self.logprobs is not None:
            raise ValueError("echo: with logprobs not available in a stream; leave out stream, echo, or logprobs")
        return self


class CompletionRequest(CompletionFields):
    """POST /v1/completions."""

    prompt: Prompts


class TokenizeRequest(_Body):
    """POST /tokenize of a text, in vLLM's shape."""

    model: Name | None = None
    prompt: str
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None


class TokenizeChatRequest(TemplateFields):
    """POST /tokenize of a conversation, in vLLM's shape."""

    model: Name | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None


class DetokenizeRequest(_Body):
    """POST /detokenize, in vLLM's shape."""

    model: Name | None = None
    tokens: TokenIds
