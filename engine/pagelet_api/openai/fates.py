"""What becomes of each field that is not acted on: ignored and counted, or refused with a sentence.

A field is *ignored* when leaving it out changes nothing a client could rely on (billing, storage, hints). It is
*refused* when ignoring it would give an answer the client did not ask for; its neutral values are accepted. A field
that is in neither list, and not in the body's type, is unknown and refused: a misspelt name must not pass in silence.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    sentence: str
    neutral: tuple[object, ...] = ()
    """Values, besides null, that ask for nothing."""

    def applies(self, value: object) -> bool:
        return value is not None and not any(type(value) is type(same) and value == same for same in self.neutral)


_TOOLS = "tools are not supported yet"
_STRUCTURED = "structured output (a JSON schema or grammar that the answer must follow) is not supported yet"
_BEAM = "beam search is not supported; use n with a temperature"

IGNORED: Mapping[str, str] = {
    "metadata": "nothing is stored",
    "moderation": "nothing is moderated",
    "parallel_tool_calls": "there are no tool calls",
    "prediction": "a hint for speed",
    "prompt_cache_key": "prefixes are cached and found by content",
    "prompt_cache_options": "prefixes are cached and found by content",
    "prompt_cache_retention": "blocks stay cached until their room is needed",
    "request_id": "an id is given with every answer, also as the header x-request-id",
    "safety_identifier": "no identity is taken from the body",
    "service_tier": "there is one tier",
    "spaces_between_special_tokens": "text is what the tokenizer's own decoder makes of the tokens",
    "store": "nothing is stored",
    "user": "no identity is taken from the body",
    "verbosity": "a hint that these models were not trained on",
}

_SAMPLING_REFUSED: Mapping[str, Refusal] = {
    "allowed_token_ids": Refusal("not supported; use logit_bias"),
    "bad_words": Refusal("not supported; use logit_bias", ([],)),
    "detokenize": Refusal("answers are text", (True,)),
    "early_stopping": Refusal(_BEAM, (False,)),
    "guided_choice": Refusal(_STRUCTURED),
    "guided_decoding_backend": Refusal(_STRUCTURED),
    "guided_grammar": Refusal(_STRUCTURED),
    "guided_json": Refusal(_STRUCTURED),
    "guided_regex": Refusal(_STRUCTURED),
    "kv_transfer_params": Refusal("prefill and decode are not split between engines"),
    "length_penalty": Refusal(_BEAM, (1, 1.0)),
    "logits_processors": Refusal("code is not taken from requests"),
    "response_format": Refusal(_STRUCTURED, ({"type": "text"},)),
    "return_token_ids": Refusal("not supported; POST /tokenize", (False,)),
    "return_tokens_as_token_ids": Refusal("not supported; POST /tokenize", (False,)),
    "structural_tag": Refusal(_STRUCTURED),
    "structured_outputs": Refusal(_STRUCTURED),
    "truncate_prompt_tokens": Refusal("prompts are never shortened; shorten it before sending"),
    "use_beam_search": Refusal(_BEAM, (False,)),
    "vllm_xargs": Refusal("not supported"),
}

CHAT_REFUSED: Mapping[str, Refusal] = {
    **_SAMPLING_REFUSED,
    "audio": Refusal("this server answers with text only"),
    "chat_template": Refusal("templates come with the model, not with requests"),
    "echo": Refusal("only for /v1/completions", (False,)),
    "function_call": Refusal(_TOOLS, ("none", "auto")),
    "functions": Refusal(_TOOLS, ([],)),
    "include_reasoning": Refusal("reasoning is not told apart from the answer", (True, False)),
    "mm_processor_kwargs": Refusal("this server takes text only"),
    "modalities": Refusal("this server answers with text only", (["text"],)),
    "tool_choice": Refusal(_TOOLS, ("none", "auto")),
    "tools": Refusal(_TOOLS, ([],)),
    "web_search_options": Refusal("this server has no way out of the site"),
}

COMPLETION_REFUSED: Mapping[str, Refusal] = {
    **_SAMPLING_REFUSED,
    "best_of": Refusal("not supported; use n", (1,)),
    "prompt_embeds": Refusal("prompts are text or token ids"),
    "suffix": Refusal("insertion is not supported", ("",)),
}

TOKENIZE_REFUSED: Mapping[str, Refusal] = {
    "chat_template": CHAT_REFUSED["chat_template"],
    "mm_processor_kwargs": CHAT_REFUSED["mm_processor_kwargs"],
    "tools": CHAT_REFUSED["tools"],
}
