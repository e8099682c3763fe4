"""Everything that clients do to a service, good and bad, in one mix: each kind is one visit of one client.

A visit returns what came of it, in a word or a status; it raises WrongAnswer for what must not come. Refuses to know
how long the mix goes on, and what it does to the processes.
"""

import asyncio
import itertools
import json
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from .bodies import MODEL, hostile_body

_CHAT, _COMPLETIONS = "/v1/chat/completions", "/v1/completions"
PATIENCE_S = 60.0
_SHORT_PATIENCE_S = 15.0
"""For answers that may be long, and that nobody waits for."""
_READ_BYTES = 1 << 16


class WrongAnswer(Exception):
    """A request that is in order was not answered as it should be, or one that is not was answered with a fault."""


@dataclass
class Visitor:
    """One client, with its own connections and its own choices."""

    url: str
    rng: random.Random
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    """Of hostile bodies: shared by all visitors."""

    def __post_init__(self) -> None:
        self._http = httpx.AsyncClient(base_url=self.url, timeout=PATIENCE_S)

    def choose(self) -> str:
        """The kind of the next visit."""
        return self.rng.choices(tuple(KINDS), [weight for weight, _ in KINDS.values()])[0]

    async def visit(self, kind: str) -> str:
        """What came of it. Raises WrongAnswer and httpx.HTTPError."""
        return await KINDS[kind][1](self)

    async def leave(self) -> None:
        await self._http.aclose()

    # ---- requests in order -------------------------------------------------------------------------------------------

    async def _stream(self) -> str:
        lines = [line async for line in self._lines(self._chat(stream=True, max_tokens=self.rng.randint(1, 32)))]
        if not lines or lines[-1] != "data: [DONE]":
            raise WrongAnswer(f"a stream that ends with {lines[-1:]}")
        return "200"

    async def _whole(self) -> str:
        return await self._answered(_CHAT, self._chat(max_tokens=self.rng.randint(1, 32)))

    async def _several(self) -> str:
        return await self._answered(_CHAT, self._chat(max_tokens=8, n=self.rng.randint(2, 6), temperature=1))

    async def _logprobs(self) -> str:
        prompt = [self.rng.randrange(1000, 40_000) for _ in range(self.rng.randint(2, 200))]
        fields = {"prompt": prompt, "max_tokens": 4, "logprobs": 5, "echo": self.rng.random() < 0.5}
        return await self._answered(_COMPLETIONS, {"model": MODEL, **fields})

    async def _tokenize(self) -> str:
        text = self._sentence() * self.rng.randint(1, 500)
        answer = await self._post("/tokenize", {"model": MODEL, "prompt": text, "return_token_strs": True})
        return await self._answered("/detokenize", {"model": MODEL, "tokens": answer.json()["tokens"]})

    async def _slow_reader(self) -> str:
        async for _ in self._lines(self._chat(stream=True, max_tokens=16)):
            await asyncio.sleep(self.rng.uniform(0, 0.2))
        return "200"

    # ---- clients that go away ----------------------------------------------------------------------------------------

    async def _disconnect(self) -> str:
        wanted = self.rng.randint(0, 8)
        async for _ in self._lines(self._chat(stream=True, max_tokens=200, ignore_eos=True)):
            if wanted == 0:
                return "gone"
            wanted -= 1
        return "200"

    async def _abort(self) -> str:
        with suppress(httpx.TimeoutException):
            body = self._chat(max_tokens=400, ignore_eos=True, n=self.rng.randint(1, 4))
            await self._http.post(_CHAT, json=body, timeout=self.rng.uniform(0.01, 1))
            return "200"
        return "gone"

    # ---- what should be refused --------------------------------------------------------------------------------------

    async def _hostile_body(self) -> str:
        body = hostile_body(next(self.numbers))
        with suppress(httpx.TimeoutException):
            headers = [(name.encode(), value.encode()) for name, value in body.headers.items()]
            answer = await self._http.post(body.path, content=body.content, headers=headers, timeout=_SHORT_PATIENCE_S)
            if answer.status_code >= 500 and answer.status_code not in (503, 504):
                raise WrongAnswer(f"body {body.number} ({body.how}): {answer.status_code} {answer.text:.200}")
            return str(answer.status_code)
        return "gone"

    async def _large_body(self) -> str:
        size = self.rng.choice((60_000, 250_000, 1_000_000))
        bodies: tuple[dict[str, Any], ...] = (
            self._chat(max_tokens=1, metadata=["a"] * (size // 4)),
            self._chat(max_tokens=1, messages=[{"role": "user", "content": "word " * (size // 5)}]),
            self._chat(max_tokens=1, chat_template_kwargs={f"k{number}": 0 for number in range(size // 12)}),
        )
        answer = await self._http.post(_CHAT, json=self.rng.choice(bodies))
        if answer.status_code not in (200, 400, 413, 503):
            raise WrongAnswer(f"a large body: {answer.status_code} {answer.text:.200}")
        return str(answer.status_code)

    async def _hostile_head(self) -> str:
        at = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(at.hostname, at.port)
        status = "closed"
        with suppress(OSError, TimeoutError):
            writer.write(self.rng.choice(_HEADS))
            async with asyncio.timeout(1):
                answer = await reader.read(_READ_BYTES)
                status = answer[9:12].decode(errors="replace") or "closed"
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        if status.startswith("5") and status not in ("501", "503", "505"):
            raise WrongAnswer(f"a head was answered with {status}")
        return status

    # ---- asking ------------------------------------------------------------------------------------------------------

    def _chat(self, **fields: Any) -> dict[str, Any]:
        messages = [{"role": "user", "content": self._sentence() * self.rng.randint(1, 6)}]
        return {"model": MODEL, "messages": messages, **fields}

    def _sentence(self) -> str:
        return f"What of {self.rng.choice(('foxes', 'the sea', 'naïve cafés', '日本語'))} number {self.rng.random()}? "

    async def _post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        answer = await self._http.post(path, json=body)
        if answer.status_code != 200:
            raise WrongAnswer(f"{path}: {answer.status_code} {answer.text:.200}")
        return answer

    async def _answered(self, path: str, body: dict[str, Any]) -> str:
        return str((await self._post(path, body)).status_code)

    async def _lines(self, body: dict[str, Any]) -> Any:
        async with self._http.stream("POST", _CHAT, json=body) as answer:
            if answer.status_code != 200:
                raise WrongAnswer(f"{_CHAT}: {answer.status_code}")
            async for line in answer.aiter_lines():
                if line.startswith("data:"):
                    if '"error"' in line and "error" in json.loads(line[5:]):
                        raise WrongAnswer(f"a stream that was broken off: {line:.200}")
                    yield line


_HEADS = (
    b"",
    b"GET",
    b"GET /health HTTP/1.1\r\n",
    b"GET /health\r\n\r\n",
    b"GET /health HTTP/1.1\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /health HTTP/9.9\r\nHost: a\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 5000 + b"\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"G\x00T /health HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"POST /tokenize HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"POST /tokenize HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    b"POST /tokenize HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /tokenize HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"POST /tokenize HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /tokenize HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{",
    b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n" * 500,
)

KINDS: dict[str, tuple[int, Callable[[Visitor], Awaitable[str]]]] = {
    "stream": (8, Visitor._stream),
    "whole answer": (5, Visitor._whole),
    "several choices": (3, Visitor._several),
    "logprobs": (3, Visitor._logprobs),
    "tokenize": (4, Visitor._tokenize),
    "slow reader": (2, Visitor._slow_reader),
    "disconnect": (4, Visitor._disconnect),
    "abort": (4, Visitor._abort),
    "hostile body": (12, Visitor._hostile_body),
    "large body": (2, Visitor._large_body),
    "hostile head": (8, Visitor._hostile_head),
}
"""How often, and what."""
