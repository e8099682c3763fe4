"""Bodies that no client should send, one per number: valid requests, changed at random in the ways that go wrong.

The same number gives the same body always, so a failure is repeated by its number. Refuses to know who answers.
"""

import json
import random
from dataclasses import dataclass

from .body_changes import CHANGE_NAMES, CHANGES, FITTING, Fields, kind_of
from .body_spoilers import SPOILERS
from .odd_values import UNICODE, Literal, Random, object_of

MODEL = "sleeper"
MOST_BYTES = 9 * 2**20
"""A little more than is taken."""
_CHAT, _COMPLETIONS = "/v1/chat/completions", "/v1/completions"


@dataclass(frozen=True, slots=True)
class Body:
    number: int
    path: str
    headers: dict[str, str]
    content: bytes
    how: str
    """What was done to a valid request, for a failure's sentence."""


def hostile_body(number: int, seed: int = 20_261) -> Body:
    rng = random.Random(f"{seed} {number}")
    path, fields = rng.choice(_VALID)(rng)
    how: list[str] = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        kind = CHANGE_NAMES if rng.random() < 0.1 else FITTING[kind_of(path, fields)]
        name = rng.choice(kind)
        how.append(name)
        CHANGES[name][1](rng, fields)
    content = _written(fields)
    headers = {"content-type": "application/json"}
    if rng.random() < 0.25:
        name = rng.choice(tuple(SPOILERS))
        how.append(name)
        content, extra = SPOILERS[name](rng, content)
        headers |= extra
    content = content[:MOST_BYTES]
    return Body(number, path, headers, content, f"{path}: {', '.join(how)}, {len(content)} bytes")


def largest_bodies(first_number: int) -> list[Body]:
    """Every field that may be long, full of what is wrong or small, at the bound of a body's size."""
    lists = [(_CHAT, "messages"), (_CHAT, "documents"), (_COMPLETIONS, "prompt"), ("/detokenize", "tokens")]
    lists += [(_CHAT, name) for name in ("stop", "stop_token_ids", "metadata", "tools")]
    objects = [(_CHAT, name) for name in ("logit_bias", "chat_template_kwargs", "metadata")]
    made = [(path, name, Literal("[" + "0," * 4_190_000 + "0]")) for path, name in lists]
    made += [(path, name, object_of((str(number), "0") for number in range(750_000))) for path, name in objects]
    bodies = []
    for number, (path, name, value) in enumerate(made, first_number):
        needed = {_CHAT: {"messages": [{"role": "user", "content": "Hi"}]}, _COMPLETIONS: {"prompt": "Hi"}}
        content = _written({"model": MODEL, **needed.get(path, {}), name: value})
        how = f"{path}: {name} of {len(content)} bytes"
        bodies.append(Body(number, path, {"content-type": "application/json"}, content, how))
    return bodies


def _written(fields: Fields) -> bytes:
    literals: list[str] = []

    def put(value: object) -> str:
        assert isinstance(value, Literal), f"{value!r} is no JSON"
        literals.append(value.text)
        return f"\0literal {len(literals) - 1}\0"

    text = json.dumps(fields, default=put)
    for number, literal in enumerate(literals):
        text = text.replace(f'"\\u0000literal {number}\\u0000"', literal, 1)
    return text.encode("utf-8", "surrogatepass")


def _chat(rng: Random) -> tuple[str, Fields]:
    roles = ("system", "user", "assistant")
    messages = [{"role": rng.choice(roles), "content": _words(rng)} for _ in range(rng.randint(1, 3))]
    return _CHAT, {"model": MODEL, "messages": messages, "max_tokens": 2, "stream": rng.random() < 0.3}


def _completion(rng: Random) -> tuple[str, Fields]:
    prompt = rng.choice((_words(rng), [_words(rng), "b"], [5, 6, 7], [[5], [6, 7]]))
    return _COMPLETIONS, {"model": MODEL, "prompt": prompt, "max_tokens": 2, "logprobs": rng.choice((None, 0, 2))}


def _tokenize(rng: Random) -> tuple[str, Fields]:
    return "/tokenize", {"model": MODEL, "prompt": _words(rng), "return_token_strs": rng.random() < 0.5}


def _tokenize_chat(rng: Random) -> tuple[str, Fields]:
    return "/tokenize", {"model": MODEL, "messages": [{"role": "user", "content": _words(rng)}]}


def _detokenize(rng: Random) -> tuple[str, Fields]:
    return "/detokenize", {"model": MODEL, "tokens": [rng.randrange(49_152) for _ in range(9)]}


_VALID = (_chat, _chat, _chat, _completion, _completion, _tokenize, _tokenize_chat, _detokenize)


def _words(rng: Random) -> str:
    return " ".join(rng.choice(("Hello", "fox", "12345", *UNICODE[:4])) for _ in range(rng.randint(1, 6)))
