"""An answer that is not streamed: collected under a bound of memory, written and sent in pieces.

What the bytes look like is the form's. Between two pieces the event loop serves others.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pagelet_api import inference_pb2 as pb
from pagelet_api.gateway_memory import MAX_ANSWER_BYTES
from pagelet_api.openai.errors import OpenAIError, unavailable
from pagelet_api.openai.responses import FinishReason
from starlette.types import Receive, Scope, Send

from pagelet_gateway.byte_budget import ByteBudget, Hold, OverBudget
from pagelet_gateway.sample import Delta

PIECE_BYTES = 2**16

_LOGPROB_BYTES = 64
"""Of a token's log probability, or an alternative's: as the engine's message and as JSON."""
_RETRY_AFTER_S = 1


@dataclass(slots=True)
class Collected:
    """A choice, collected."""

    texts: list[str] = field(default_factory=list)
    logprobs: list[pb.TokenLogprobs] = field(default_factory=list)
    finish_reason: FinishReason = "stop"
    stop_reason: str | int | None = None

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def add(self, delta: Delta) -> None:
        self.texts.append(delta.text)
        self.logprobs.extend(delta.logprobs)
        if delta.finish_reason is not None:
            self.finish_reason, self.stop_reason = delta.finish_reason, delta.stop_reason


class WholeAnswer:
    def __init__(self, num_choices: int, hold: Hold) -> None:
        """`hold`: the answer's part of the memory for all of them."""
        self.choices = [Collected() for _ in range(num_choices)]
        self._hold = hold
        self._counted_prompts: set[int] = set()

    def add(self, deltas: Iterable[tuple[int, Delta]], prompt_logprobs: Sequence[Sequence[pb.TokenLogprobs]]) -> None:
        """`prompt_logprobs`: of each prompt, as far as they have come. Raises OpenAIError when it gets too large."""
        num_bytes = 0
        for choice, delta in deltas:
            self.choices[choice].add(delta)
            num_bytes += len(delta.text) + _bytes_of(delta.logprobs)
        for prompt, entries in enumerate(prompt_logprobs):
            if entries and prompt not in self._counted_prompts:
                self._counted_prompts.add(prompt)
                num_bytes += _bytes_of(entries)
        _grow(self._hold, num_bytes)


class MadeAnswer:
    """An ASGI response: an answer that is complete already."""

    def __init__(self, content: bytes, memory: ByteBudget, client: str) -> None:
        """`memory`: for all answers, of which this one takes its part while it is sent."""
        self._content = content
        self._memory = memory
        self._client = client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises OpenAIError before anything is sent."""
        with self._memory.hold(self._client) as hold:
            _grow(hold, len(self._content))
            await send_whole(iter((self._content,)), send)


def _grow(hold: Hold, num_bytes: int) -> None:
    """Raises OpenAIError."""
    if hold.num_bytes + num_bytes > MAX_ANSWER_BYTES:
        raise OpenAIError(
            400,
            f"This answer takes more than the {MAX_ANSWER_BYTES >> 20} MiB that one may hold until it is complete. "
            "Ask for less text, or for fewer choices, tokens or log probabilities, or with stream: true.",
            code="answer_too_large",
        )
    try:
        hold.grow(num_bytes)
    except OverBudget as error:
        raise unavailable(
            f"This gateway holds as many bytes of answers as it may: {error}. Send the request again, or with "
            "stream: true.",
            _RETRY_AFTER_S,
            "gateway_busy",
        ) from error


def _bytes_of(entries: Sequence[pb.TokenLogprobs]) -> int:
    """About; all have as many alternatives as the last."""
    return len(entries) * (1 + len(entries[-1].top_token_ids)) * _LOGPROB_BYTES if entries else 0


async def send_whole(written: Iterator[bytes], send: Send) -> None:
    """Write the answer, then send it with its length. What choices share is one piece in memory."""
    pieces: list[bytes] = []
    since_turn = 0
    for piece in written:
        if piece:
            pieces.append(piece)
            since_turn += len(piece)
        if not piece or since_turn > PIECE_BYTES:
            since_turn = 0
            await asyncio.sleep(0)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % sum(map(len, pieces)))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for joined in _joined(pieces):
        await send({"type": "http.response.body", "body": joined, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _joined(pieces: Sequence[bytes]) -> Iterator[bytes]:
    """Pieces of about PIECE_BYTES, at most twice that."""
    some: list[bytes] = []
    num_bytes = 0
    for whole in pieces:
        for first in range(0, len(whole), PIECE_BYTES):
            piece = whole[first : first + PIECE_BYTES]
            some.append(piece)
            num_bytes += len(piece)
            if num_bytes >= PIECE_BYTES:
                yield b"".join(some)
                some, num_bytes = [], 0
    if some:
        yield b"".join(some)
