"""Changes to what a valid request asks: wrong types, odd fields, extremes. Refuses to know how it is written down."""

from collections.abc import Callable
from typing import Any

from .odd_values import (
    Random,
    any_value,
    long_text,
    object_of,
    odd_number,
    odd_text,
    size,
)

Fields = dict[str, Any]

_CHAT, _COMPLETIONS = "/v1/chat/completions", "/v1/completions"
_IGNORED = ("metadata", "user", "store", "prediction", "prompt_cache_key", "service_tier", "verbosity", "request_id")
_REFUSED = ("tools", "functions", "response_format", "suffix", "best_of", "guided_json", "bad_words", "chat_template")
_NUMERIC = (
    *("n", "max_completion_tokens", "min_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty"),
    *("presence_penalty", "frequency_penalty", "seed", "priority", "prompt_logprobs"),
)
_SAMPLING = (
    *_NUMERIC,
    *("model", "stream", "stream_options", "max_tokens", "logit_bias", "stop", "logprobs", "stop_token_ids"),
    *("include_stop_str_in_output", "ignore_eos", "skip_special_tokens", "add_special_tokens", "cache_salt"),
)
_TEMPLATE = (
    *("messages", "add_generation_prompt", "continue_final_message", "chat_template_kwargs", "documents"),
    *("reasoning_effort", "model", "add_special_tokens"),
)
_SHADOWS = (
    *("messages", "message", "loop", "range", "namespace", "self", "bos_token", "eos_token", "add_generation_prompt"),
    *("raise_exception", "strftime_now", "__class__", "__init__", "tools", "documents", "caller", "varargs", "kwargs"),
    *("True", "none", "", " ", "a b", "{{", "tojson", "dict", "lipsum", "cycler", "joiner", "context", "environment"),
)


def _wrong_type(rng: Random, fields: Fields) -> None:
    known = {"model": None, **fields, **dict.fromkeys(_SAMPLING if "max_tokens" in fields else ())}
    if "messages" in fields:
        known |= dict.fromkeys(_TEMPLATE)
    fields[rng.choice(tuple(known))] = any_value(rng)


def _missing(rng: Random, fields: Fields) -> None:
    if fields:
        del fields[rng.choice(tuple(fields))]


def _other_field(rng: Random, fields: Fields) -> None:
    unknown = ("temprature", "a" * 70, "", "\x00", "__proto__", "model ", "Model", "é", "\ud800", "a" * 100_000)
    fields[rng.choice((*_IGNORED, *_REFUSED, *unknown))] = any_value(rng)


def _many_other_fields(rng: Random, fields: Fields) -> None:
    names = rng.choice((_IGNORED, _REFUSED, [f"field{number}" for number in range(size(rng, 100_000))]))
    fields |= dict.fromkeys(names, rng.choice((None, 0, "", [])))


def _messages(rng: Random, fields: Fields) -> None:
    roles = ("user", "system", "assistant", "tool", "function", "developer", "", "u" * 257, "<|im_end|>", 3, None, [])
    message: Any = {"role": rng.choice(roles), "content": _content(rng)}
    if rng.random() < 0.4:
        more = ("name", "tool_calls", "function_call", "reasoning", "prefix", "a", "", "tool_call_id", "refusal")
        message[rng.choice(more)] = any_value(rng)
    small = {"role": message["role"], "content": "a"}
    fields["messages"] = rng.choice(([message], [small] * size(rng, 100_000), [message, any_value(rng)], message))


def _content(rng: Random) -> Any:
    kinds = ("text", "image_url", "input_audio", "file", "refusal", "", None, 1, "video_url", "tool_use")
    part: Any = {"type": rng.choice(kinds), "text": rng.choice(("a", None, 1, odd_text(rng), [])), "cache": {}}
    return rng.choice(
        (any_value(rng), [part], [{**part, "text": "a"}] * size(rng, 10_000), [part, "a"], [any_value(rng)], part)
    )


def _prompt(rng: Random, fields: Fields) -> None:
    ids = [rng.choice((0, 1, 49_151, 49_152, 2**32, -1, 2**64, True, 1.0, "1", None)) for _ in range(rng.randint(0, 9))]
    prompts: tuple[Any, ...] = (ids, [ids], [ids, "a"], ["a"] * rng.choice((0, 2, 255, 256, 257, 5000)), [[]], [""])
    fields["prompt" if "tokens" not in fields else "tokens"] = rng.choice((*prompts, any_value(rng)))
    if rng.random() < 0.3:
        fields["n"] = rng.choice((0, 1, 2, 3, 128, 129))


def _sampling(rng: Random, fields: Fields) -> None:
    for name in rng.sample(_NUMERIC, rng.randint(1, 3)):
        fields[name] = rng.choice((odd_number(rng), rng.choice((0, 1, 2, 0.5, None))))


def _stop(rng: Random, fields: Fields) -> None:
    stops: tuple[Any, ...] = (
        "",
        " ",
        "e",
        [""],
        ["a"] * 33,
        ["a" * 1025],
        ["a" * 1024] * 32,
        [None],
        [["a"]],
        {"a": 1},
    )
    fields["stop"] = rng.choice((*stops, odd_text(rng), any_value(rng)))
    fields["include_stop_str_in_output"] = rng.choice((True, False, None, "yes"))
    if rng.random() < 0.5:
        fields["stop_token_ids"] = rng.choice(([0] * 257, [-1], [2**32], [49_152], ["2"], any_value(rng)))


def _logit_bias(rng: Random, fields: Fields) -> None:
    keys = ("0", "49151", "49152", "-1", "a", "", " 1", "1.0", "01", "1e3", "٣", "4294967296", "9" * 400, "\x00")
    values = (0, 100, -100, 101, -101, None, "1", [], True, 0.5, odd_number(rng))
    bias: Any = {key: rng.choice(values) for key in rng.sample(keys, rng.randint(0, 5))}
    many = object_of((str(number), "-100" if number % 2 else "100") for number in range(1025))
    fields["logit_bias"] = rng.choice((bias, bias, bias, many, any_value(rng)))


def _logprobs(rng: Random, fields: Fields) -> None:
    for name in rng.sample(("logprobs", "top_logprobs", "prompt_logprobs", "echo", "stream", "n"), 3):
        fields[name] = rng.choice((True, False, 0, 1, 2, 20, 21, -1, None))


def _template(rng: Random, fields: Fields) -> None:
    names = rng.sample(_SHADOWS, rng.randint(1, 4))
    fields["chat_template_kwargs"] = rng.choice(({name: any_value(rng) for name in names}, any_value(rng)))
    if rng.random() < 0.3:
        fields[rng.choice(("documents", "reasoning_effort", "continue_final_message"))] = any_value(rng)


def _streamed(rng: Random, fields: Fields) -> None:
    fields["stream"] = True
    fields["stream_options"] = rng.choice(({"include_usage": True}, {"include_usage": 1}, {"a": 1}, {}, any_value(rng)))


def _another_model(rng: Random, fields: Fields) -> None:
    fields["model"] = rng.choice((any_value(rng), "gpt-4", "sleeper ", "SLEEPER", "a/../sleeper", "m" * 256, "m" * 257))


def _long_words(rng: Random, fields: Fields) -> None:
    text = long_text(rng)
    if "messages" in fields:
        fields["messages"] = [{"role": "user", "content": text}]
    else:
        fields["prompt"] = text


CHANGES: dict[str, tuple[int, Callable[[Random, Fields], None]]] = {
    "wrong type": (6, _wrong_type),
    "missing field": (2, _missing),
    "other field": (3, _other_field),
    "many other fields": (1, _many_other_fields),
    "messages": (5, _messages),
    "prompt": (4, _prompt),
    "sampling": (6, _sampling),
    "stop": (4, _stop),
    "logit_bias": (4, _logit_bias),
    "logprobs": (3, _logprobs),
    "template": (4, _template),
    "streamed": (2, _streamed),
    "another model": (2, _another_model),
    "long words": (2, _long_words),
}
"""How often, and what."""
CHANGE_NAMES = tuple(name for name, (weight, _) in CHANGES.items() for _ in range(weight))
_ANYWHERE = ("wrong type", "missing field", "other field", "many other fields", "another model")
_OF_SAMPLES = (*_ANYWHERE, "sampling", "stop", "logit_bias", "logprobs", "streamed", "long words")
FITTING = {
    kind: tuple(name for name in CHANGE_NAMES if name in names)
    for kind, names in {
        "chat": (*_OF_SAMPLES, "messages", "template"),
        "completion": (*_OF_SAMPLES, "prompt"),
        "conversation": (*_ANYWHERE, "messages", "template", "long words"),
        "text": (*_ANYWHERE, "prompt", "long words"),
    }.items()
}
"""The changes after which a request may still be understood: others end at the first unknown name."""


def kind_of(path: str, fields: Fields) -> str:
    if path == _CHAT:
        return "chat"
    if path == _COMPLETIONS:
        return "completion"
    return "conversation" if "messages" in fields else "text"
