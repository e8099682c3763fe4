"""Logprobs in the three forms clients know: chat's, the legacy completions', and vLLM's for prompts."""

import codecs
import math
from collections.abc import Sequence

from pagelet_api import inference_pb2 as pb
from pagelet_api.openai.responses import ChatLogprob, CompletionLogprobs, PromptLogprob, TopLogprob

from pagelet_gateway.tokenizer import Tokenizer

_IMPOSSIBLE = -9999.0  # JSON has no -Infinity; this is what OpenAI writes


def _finite(logprob: float) -> float:
    return logprob if math.isfinite(logprob) else _IMPOSSIBLE


def _top(tokenizer: Tokenizer, token: int, logprob: float) -> TopLogprob:
    data = tokenizer.token_bytes(token)
    return {"token": data.decode(errors="replace"), "logprob": _finite(logprob), "bytes": list(data)}


def chat_logprobs(entries: Sequence[pb.TokenLogprobs], top: int, tokenizer: Tokenizer) -> list[ChatLogprob]:
    """`top`: how many alternatives each token is shown with."""
    return [
        {
            **_top(tokenizer, entry.token_id, entry.logprob),
            "top_logprobs": [
                _top(tokenizer, token, logprob)
                for token, logprob in zip(entry.top_token_ids[:top], entry.top_logprobs[:top], strict=True)
            ],
        }
        for entry in entries
    ]


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

    def write(self, entries: Sequence[pb.TokenLogprobs], tokens: Sequence[int] | None = None) -> CompletionLogprobs:
        """`tokens`: whose entries these are, where an entry may be empty (the first of a prompt)."""
        written: CompletionLogprobs = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for number, entry in enumerate(entries):
            token = entry.token_id if tokens is None else tokens[number]
            empty = tokens is not None and number == 0
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


def prompt_logprobs(entries: Sequence[pb.TokenLogprobs], tokenizer: Tokenizer) -> list[dict[str, PromptLogprob] | None]:
    """vLLM's form: one a prompt token, by token id; the first null."""
    listed: list[dict[str, PromptLogprob] | None] = []
    for number, entry in enumerate(entries):
        if number == 0:
            listed.append(None)
            continue
        ranked = enumerate(zip(entry.top_token_ids, entry.top_logprobs, strict=True), start=1)
        shown = {token: (logprob, rank) for rank, (token, logprob) in ranked}
        shown.setdefault(entry.token_id, (entry.logprob, entry.rank))
        listed.append(
            {
                str(token): {
                    "logprob": _finite(logprob),
                    "rank": rank,
                    "decoded_token": tokenizer.token_bytes(token).decode(errors="replace"),
                }
                for token, (logprob, rank) in shown.items()
            }
        )
    return listed
