"""Field types whose JSON has several forms, each reduced to one: stop, prompt, logit_bias, message content.

Written by hand instead of as pydantic unions: a union's errors name every branch, ours name the one thing to do, and
a prompt of 100,000 token ids is checked by a few passes at C speed.
"""

from typing import Annotated, Any

from pydantic import PlainValidator

from pagelet_api.openai.bounds import (
    MAX_CONTENT_PARTS,
    MAX_LOGIT_BIAS,
    MAX_PROMPTS,
    MAX_STOP_CHARACTERS,
    MAX_STOP_STRINGS,
    MAX_STOP_TOKEN_IDS,
)

MAX_TOKEN_ID = 2**32 - 1
_REFUSED_PARTS = {
    "image_url": "images",
    "input_image": "images",
    "input_audio": "audio",
    "audio_url": "audio",
    "video_url": "video",
    "file": "files",
}


def describe(value: object) -> str:
    """A value as an error shows it: never long, whatever was sent."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"an object of {len(value)} fields"
    text = repr(value[:60] if isinstance(value, str) else value)
    return text if len(text) <= 80 else text[:79] + "…"


def _is_token_list(value: list[Any]) -> bool:
    return set(map(type, value)) == {int}


def _check_ids(ids: list[Any], what: str) -> None:
    if min(ids) < 0 or max(ids) > MAX_TOKEN_ID:
        raise ValueError(f"{what} has the token id {min(ids) if min(ids) < 0 else max(ids)}; ids begin at 0")


def _stop(value: object) -> object:
    if value is None:
        return None
    strings = [value] if isinstance(value, str) else value
    if not isinstance(strings, list):
        raise ValueError(f"wanted a string or a list of strings, found {describe(value)}")
    if len(strings) > MAX_STOP_STRINGS:
        raise ValueError(f"wanted at most {MAX_STOP_STRINGS} stop strings, found {len(strings)}")
    for string in strings:
        if not isinstance(string, str):
            raise ValueError(f"wanted strings, found {describe(string)}")
        if not string:
            raise ValueError("an empty stop string would stop before the first character; leave it out")
        if len(string) > MAX_STOP_CHARACTERS:
            raise ValueError(f"wanted at most {MAX_STOP_CHARACTERS} characters a stop string, found {len(string)}")
    return list(dict.fromkeys(strings))


def _stop_token_ids(value: object) -> object:
    if not value:
        return None if value is None or value == [] else _wrong_ids(value)
    if not isinstance(value, list) or not _is_token_list(value):
        return _wrong_ids(value)
    if len(value) > MAX_STOP_TOKEN_IDS:
        raise ValueError(f"wanted at most {MAX_STOP_TOKEN_IDS} token ids, found {len(value)}")
    _check_ids(value, "the list")
    return value


def _wrong_ids(value: object) -> object:
    raise ValueError(f"wanted a list of token ids, found {describe(value)}")


def _logit_bias(value: object) -> object:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ValueError(f'wanted an object like {{"42": -100}}, found {describe(value)}')
    if len(value) > MAX_LOGIT_BIAS:
        raise ValueError(f"wanted at most {MAX_LOGIT_BIAS} tokens, found {len(value)}")
    biases: dict[int, float] = {}
    for key, bias in value.items():
        if not (isinstance(key, str) and key.isascii() and key.isdigit() and len(key) <= 10):
            raise ValueError(f"wanted token ids as keys, found {describe(key)}")
        if type(bias) not in (int, float) or not -100 <= bias <= 100:
            raise ValueError(f"wanted a number from -100 to 100 for token {key}, found {describe(bias)}")
        biases[int(key)] = float(bias)
    if biases:
        _check_ids(list(biases), "logit_bias")
    return biases


def _prompt(value: object) -> object:
    """A string, strings, token ids, or lists of token ids → a list of prompts."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value:
        raise ValueError(
            f"wanted a string, a list of strings, token ids, or lists of token ids, found {describe(value)}"
        )
    if _is_token_list(value):
        _check_ids(value, "the prompt")
        return [value]
    if len(value) > MAX_PROMPTS:
        raise ValueError(f"wanted at most {MAX_PROMPTS} prompts a request, found {len(value)}")
    if set(map(type, value)) == {str}:
        return value
    for number, prompt in enumerate(value):
        if not isinstance(prompt, list) or not prompt or not _is_token_list(prompt):
            raise ValueError(f"prompt {number}: wanted what the others are, a list of token ids, or strings throughout")
        _check_ids(prompt, f"prompt {number}")
    return value


def _content(value: object) -> object:
    """A string, null, or text parts, which are joined by line breaks."""
    if value is None or isinstance(value, str):
        return value or ""
    if not isinstance(value, list):
        raise ValueError(f"wanted a string or a list of parts, found {describe(value)}")
    if len(value) > MAX_CONTENT_PARTS:
        raise ValueError(f"wanted at most {MAX_CONTENT_PARTS} parts, found {len(value)}")
    texts: list[str] = []
    for part in value:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in _REFUSED_PARTS:
            raise ValueError(f"this server takes text only; {_REFUSED_PARTS[kind]} ({kind}) are not supported")
        text = part.get("refusal" if kind == "refusal" else "text") if isinstance(part, dict) else part
        if kind not in ("text", "refusal", "input_text", "output_text", None) or not isinstance(text, str):
            raise ValueError(f'wanted parts like {{"type": "text", "text": "…"}}, found {describe(part)}')
        texts.append(text)
    return "\n".join(texts)


StopStrings = Annotated[list[str] | None, PlainValidator(_stop)]
StopTokenIds = Annotated[list[int] | None, PlainValidator(_stop_token_ids)]
LogitBias = Annotated[dict[int, float] | None, PlainValidator(_logit_bias)]
Prompts = Annotated[list[str | list[int]], PlainValidator(_prompt)]
Content = Annotated[str, PlainValidator(_content)]
