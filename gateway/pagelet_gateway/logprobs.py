"""Logprobs in the three forms clients know: chat's, the legacy completions', and vLLM's for prompts."""

import codecs
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pagelet_api import inference_pb2 as pb
from pagelet_api.openai.responses import ChatLogprob, CompletionLogprobs, PromptLogprob, TopLogprob

from pagelet_gateway.json_pieces import array, items, quote, slices
from pagelet_gateway.tokenizer import Tokenizer

_IMPOSSIBLE = -9999.0  # JSON has no -Infinity; this is what OpenAI writes


def _finite(logprob: float) -> float:
    return logprob if math.isfinite(logprob) else _IMPOSSIBLE


def _top(tokenizer: Tokenizer, token: int, logprob: float) -> TopLogprob:
    data = tokenizer.token_bytes(token)
    return {"token": data.decode(errors="replace"), "logprob": _finite(logprob), "bytes": list(data)}


def chat_logprobs(entries: Sequence[pb.TokenLogprobs], top: int, tokenizer: Tokenizer) -> Iterator[ChatLogprob]:
    """`top`: how many alternatives each token is shown with."""
    for entry in entries:
        yield {
            **_top(tokenizer, entry.token_id, entry.logprob),
            "top_logprobs": [
                _top(tokenizer, token, logprob)
                for token, logprob in zip(entry.top_token_ids[:top], entry.top_logprobs[:top], strict=True)
            ],
        }


def _legacy_name(data: bytes) -> str:
    """A fragment of a character is named by its bytes, so that two of them never share a key."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


class CompletionLogprobsWriter:
    """The legacy form of one choice, piece by piece: `text_offset` counts characters from the choice's beginning."""

    def __init__(self, tokenizer: Tokenizer, skipped: frozenset[int]) -> None:
        """`skipped`: tokens that do not appear in the text."""
        self._tokenizer = tokenizer
        self._skipped = skipped
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset = 0

    def copy(self) -> "CompletionLogprobsWriter":
        """For a choice that goes on where this one is."""
        writer = CompletionLogprobsWriter(self._tokenizer, self._skipped)
        writer._characters.setstate(self._characters.getstate())
        writer._offset = self._offset
        return writer

    def write(self, entries: Sequence[pb.TokenLogprobs], first_token: int | None = None) -> CompletionLogprobs:
        """`first_token`: whose entry the first is, which is empty (that of a prompt's first token)."""
        written: CompletionLogprobs = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for number, entry in enumerate(entries):
            empty = first_token is not None and number == 0
            token = first_token if empty and first_token is not None else entry.token_id
            data = self._tokenizer.token_bytes(token)
            written["tokens"].append(_legacy_name(data))
            written["token_logprobs"].append(None if empty else _finite(entry.logprob))
            written["top_logprobs"].append(None if empty else self._alternatives(entry))
            written["text_offset"].append(self._offset)
            if token not in self._skipped:
                self._offset += len(self._characters.decode(data))
        return written

    def _alternatives(self, entry: pb.TokenLogprobs) -> dict[str, float]:
        named = {
            _legacy_name(self._tokenizer.token_bytes(token)): _finite(logprob)
            for token, logprob in zip(entry.top_token_ids, entry.top_logprobs, strict=True)
        }
        # The chosen token is always among them, as with OpenAI.
        named.setdefault(_legacy_name(self._tokenizer.token_bytes(entry.token_id)), _finite(entry.logprob))
        return named


@dataclass(slots=True)
class WrittenLogprobs:
    """The legacy form of many tokens, as JSON: the items of its four arrays."""

    tokens: list[bytes] = field(default_factory=list)
    token_logprobs: list[bytes] = field(default_factory=list)
    top_logprobs: list[bytes] = field(default_factory=list)
    text_offset: list[bytes] = field(default_factory=list)

    def add(
        self, entries: Sequence[pb.TokenLogprobs], writer: CompletionLogprobsWriter, first_token: int | None = None
    ) -> Iterator[bytes]:
        """Write more tokens. Yields empty pieces."""
        for some in slices(entries):
            written = writer.write(some, first_token)
            first_token = None
            for own, values in (
                (self.tokens, written["tokens"]),
                (self.token_logprobs, written["token_logprobs"]),
                (self.top_logprobs, written["top_logprobs"]),
                (self.text_offset, written["text_offset"]),
            ):
                own.append(quote(values)[1:-1].encode("ascii"))
            yield b""


def completion_logprobs(*parts: WrittenLogprobs) -> Iterator[bytes]:
    """The legacy object of all parts, one after the other."""
    yield b'{"tokens":'
    yield from array(*(part.tokens for part in parts))
    yield b',"token_logprobs":'
    yield from array(*(part.token_logprobs for part in parts))
    yield b',"top_logprobs":'
    yield from array(*(part.top_logprobs for part in parts))
    yield b',"text_offset":'
    yield from array(*(part.text_offset for part in parts))
    yield b"}"


def prompt_logprob_items(entries: Sequence[pb.TokenLogprobs], tokenizer: Tokenizer) -> Iterator[bytes]:
    """The items of vLLM's array: one per prompt token, by token id; the first null."""
    return items(_prompt_logprobs(entries, tokenizer))


def _prompt_logprobs(
    entries: Sequence[pb.TokenLogprobs], tokenizer: Tokenizer
) -> Iterator[dict[str, PromptLogprob] | None]:
    for number, entry in enumerate(entries):
        if number == 0:
            yield None
            continue
        ranked = enumerate(zip(entry.top_token_ids, entry.top_logprobs, strict=True), start=1)
        shown = {token: (logprob, rank) for rank, (token, logprob) in ranked}
        shown.setdefault(entry.token_id, (entry.logprob, entry.rank))
        yield {
            str(token): {
                "logprob": _finite(logprob),
                "rank": rank,
                "decoded_token": tokenizer.token_bytes(token).decode(errors="replace"),
            }
            for token, (logprob, rank) in shown.items()
        }
