"""The worst that one client can legally send, each by name: bytes on how many connections, at which pace.

Each stands for its kind. Sizes lie at the documented bounds, or a little below. Refuses to know who sends them.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sleeping_stack import MODEL_NAME

CHAT, COMPLETIONS, TOKENIZE, DETOKENIZE = "/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"
_HELLO = [{"role": "user", "content": "Hello"}]
_MANY_DIGITS = "1" * 540_000
"""One word without a space: what a tokenizer is slowest at."""

TEMPLATE_BOMB = (
    "{% if turns %}{% for a in range(turns) %}{% for b in range(turns) %}{% endfor %}{% endfor %}{% endif %}"
)
"""Goes before the model's own chat template: the time that it takes is in a request's hands, as in many real ones."""


@dataclass(frozen=True, slots=True)
class Attack:
    requests: Callable[[], Sequence[bytes]]
    """Made once; connections take them in turn, and begin again."""
    connections: int = 1
    """Each sends its next request when the one before is answered."""
    piece_bytes: int = 0
    """Sent at once, followed by a pause; 0: all."""
    pause_s: float = 0.0
    reads: bool = True
    """Whether it takes the answers."""

    @property
    def ends_by_itself(self) -> bool:
        """Whether its requests are sent at once, and their answers read."""
        return self.reads and not self.pause_s


def _post(path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1",
        "Host: gateway",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join((*head, "", "")).encode() + body


def _ask(path: str, **fields: Any) -> bytes:
    return _post(path, json.dumps({"model": MODEL_NAME, **fields}, separators=(",", ":")).encode())


def _chat(**fields: Any) -> bytes:
    return _ask(CHAT, **{"messages": _HELLO, "max_tokens": 1, **fields})


def _repeated(path: str, before: str, item: str, count: int, after: str = "]") -> list[bytes]:
    """A body in which one item stands `count` times: made without ever being an object here."""
    body = f'{{"model":"{MODEL_NAME}",{before}{",".join([item] * count)}{after}}}'
    return [_post(path, body.encode())]


def _template_kwargs() -> list[bytes]:
    return [_chat(chat_template_kwargs={f"k{number}": 0 for number in range(600_000)})]


def _deep() -> list[bytes]:
    depth = 4_000_000
    hello = json.dumps(_HELLO)
    body = f'{{"model":"{MODEL_NAME}","messages":{hello},"metadata":{"[" * depth}{"]" * depth}}}'
    return [_post(CHAT, body.encode())]


def _echo(n: int) -> list[bytes]:
    prompt = [number * 7919 % 40_000 + 100 for number in range(8100)]
    return [_ask(COMPLETIONS, prompt=prompt, max_tokens=1, echo=True, logprobs=20, prompt_logprobs=20, n=n)]


def _prompts(max_tokens: int) -> list[bytes]:
    return [_ask(COMPLETIONS, prompt=[("x1 é漢" * 600)[:2048]] * 256, max_tokens=max_tokens)]


def _text(size: int) -> list[bytes]:
    """A chat of `size` bytes that is too long for the model: found after all of it is tokenised."""
    words = " ".join(f"word{number % 977}" for number in range(size // 8 + 1))
    return [_chat(messages=[{"role": "user", "content": words[: size - 200]}])]


def _small_chats() -> list[bytes]:
    return [_chat(messages=[{"role": "user", "content": f"Hello {number}"}]) for number in range(1000)]


def _ids() -> list[bytes]:
    return [_ask(DETOKENIZE, tokens=[number % 49_152 for number in range(1_000_000)])]


def _head(size: int) -> list[bytes]:
    return [b"GET /health HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nX-A: " + b"a" * size + b"\r\n\r\n"]


def _slow_body() -> list[bytes]:
    return [_chat()]


def _pipelined() -> list[bytes]:
    return [b"GET /v1/models HTTP/1.1\r\nHost: gateway\r\n\r\n" * 50_000]


_WRONG_MESSAGES = partial(_repeated, CHAT, '"messages":[', "0", 4_190_000)
_EMPTY_TURNS = partial(_repeated, CHAT, '"max_tokens":1,"messages":[', '{"role":"u"}')

ATTACKS = {
    "wrong messages, 4.19M": Attack(_WRONG_MESSAGES),
    "wrong ids to detokenize, 2.09M": Attack(partial(_repeated, DETOKENIZE, '"tokens":[', '"a"', 2_090_000)),
    "messages, 640k": Attack(partial(_EMPTY_TURNS, 640_000)),
    "messages, 200k x 8": Attack(partial(_EMPTY_TURNS, 200_000), connections=8),
    "template kwargs, 600k": Attack(_template_kwargs),
    "ignored field, 2.7M items": Attack(
        partial(_repeated, CHAT, f'"messages":{json.dumps(_HELLO)},"max_tokens":1,"metadata":[', "[]", 2_700_000)
    ),
    "nesting, 4M deep": Attack(_deep),
    "ids to detokenize, 1M": Attack(_ids),
    "ids to detokenize, 1M x 10": Attack(_ids, connections=10),
    "tokenize 540k digits x 40": Attack(lambda: [_ask(TOKENIZE, prompt=_MANY_DIGITS)], connections=40),
    "token strings of 540k digits": Attack(lambda: [_ask(TOKENIZE, prompt=_MANY_DIGITS, return_token_strs=True)]),
    "prompts, 256 x 2,048": Attack(partial(_prompts, 1)),
    "prompts, 256 x 2,048, refused": Attack(partial(_prompts, 100_000)),
    "echo, 20 logprobs, n 1": Attack(partial(_echo, 1)),
    "echo, 20 logprobs, n 128": Attack(partial(_echo, 128)),
    "chats of 63 KiB x 16": Attack(partial(_text, 63 * 1024), connections=16),
    "chats of 250 KiB x 16": Attack(partial(_text, 250 * 1024), connections=16),
    "small chats x 64": Attack(_small_chats, connections=64),
    "head of 64 MiB": Attack(partial(_head, 64 * 2**20)),
    "slow bodies x 500": Attack(_slow_body, connections=500, piece_bytes=1, pause_s=0.5),
    "pipelined, unread": Attack(_pipelined, reads=False),
    "template bomb": Attack(lambda: [_chat(chat_template_kwargs={"turns": 99_999})]),
}
