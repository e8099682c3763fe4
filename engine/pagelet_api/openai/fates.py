"""What becomes of each field: acted on, ignored and counted, or refused with a sentence.

A field is *ignored* when leaving it out changes nothing a client could rely on (billing, storage, hints). It is
*refused* when ignoring it would give an answer the client did not ask for; its neutral values are accepted. A field
that is in neither list, and not in the body's type, is unknown and refused: a misspelt name must not pass in silence.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pagelet_api.openai import bounds


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

ACTED_ON: Mapping[str, str] = {
    "model": "the served name or one of its aliases; any other is 404 `model_not_found`",
    "messages": f"1 to {bounds.MAX_MESSAGES}; content is a string or text parts, joined by line breaks; other fields "
    "of a message go to the chat template; images, audio and tool calls are refused",
    "prompt": f"a string, token ids, or a list of either; at most {bounds.MAX_PROMPTS} prompts and "
    f"{bounds.MAX_CHOICES} choices a request",
    "stream": "server-sent events, one at most for each choice and step of the engine, closed by `[DONE]`",
    "stream_options": "`include_usage`: a last chunk without choices has the usage; `include_obfuscation` is accepted "
    "and never done",
    "n": f"1 to {bounds.MAX_N}, or the engine's lower limit",
    "max_tokens": "prompt and answer must fit the model; default: chat, as far as it goes; completions, 16. "
    "0 is allowed for completions with `echo`, to score a prompt",
    "max_completion_tokens": "chat's newer name of max_tokens; wins over it",
    "min_tokens": "no end, stop token or stop string before that many tokens; at most max_tokens",
    "temperature": "0 to 2; below 0.00001 is greedy; default: the model's generation_config.json, else 1",
    "top_p": "0 to 1; 0 keeps the likeliest token alone; default: the model's, else 1",
    "top_k": "0 or -1: off; default: the model's, else off",
    "min_p": "0 to 1; default: the model's, else 0",
    "repetition_penalty": "0.01 to 10; default: the model's, else 1",
    "presence_penalty": "-2 to 2",
    "frequency_penalty": "-2 to 2",
    "logit_bias": f"token id → -100 to 100; at most {bounds.MAX_LOGIT_BIAS} tokens, or the engine's lower limit",
    "seed": "any 64-bit number; the same seed gives the same answer on the same engine",
    "stop": f"a string or at most {bounds.MAX_STOP_STRINGS}, of at most {bounds.MAX_STOP_CHARACTERS} characters each; "
    "found across tokens; the text ends before the one that is complete first; usage counts through the token that "
    "completed it; `stop_reason` names it",
    "stop_token_ids": "end the answer; counted, not shown; `stop_reason` names the id",
    "include_stop_str_in_output": "show the stop string too",
    "ignore_eos": "go on past the model's own end",
    "skip_special_tokens": "default true",
    "logprobs": "chat: true for the chosen tokens' logprobs; completions: how many alternatives besides. Of the raw "
    "distribution, with bytes; -9999 is minus infinity. Completions name a fragment of a character `bytes:\\x…`",
    "top_logprobs": f"0 to {bounds.MAX_TOP_LOGPROBS}, with logprobs: true",
    "prompt_logprobs": f"0 to {bounds.MAX_TOP_LOGPROBS}, in vLLM's shape; not in a stream. Prompt tokens × choices × "
    f"alternatives of one answer are at most {bounds.MAX_PROMPT_LOGPROBS}",
    "echo": "the prompt before each answer; with logprobs, also the prompt's, bounded as prompt_logprobs are, and then "
    "not in a stream",
    "add_special_tokens": "what the tokenizer puts around a text; default: true for completions, false for chat",
    "add_generation_prompt": "default true, unless continue_final_message",
    "continue_final_message": "the answer goes on where the last message ends",
    "chat_template_kwargs": f"variables for the chat template, at most {bounds.MAX_TEMPLATE_VARIABLES}",
    "documents": f"handed to the chat template, at most {bounds.MAX_DOCUMENTS}",
    "reasoning_effort": "handed to the chat template",
    "priority": "as in vLLM: lower is earlier; default 0",
    "cache_salt": f"prefix-cache blocks are shared only under the same salt; at most "
    f"{bounds.MAX_CACHE_SALT_CHARACTERS} characters",
}

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
