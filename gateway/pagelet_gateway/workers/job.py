"""One request on its way through a worker process, and what comes back: the messages between gateway and workers.

A message is a JSON header and a blob, both with their lengths before them. Knows no sockets and no processes.
"""

import json
import struct
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pagelet_api.openai.errors import OpenAIError

_LENGTHS = struct.Struct("<II")


class Kind(StrEnum):
    """What a worker makes of a body."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    TOKENIZE = "tokenize"
    DETOKENIZE = "detokenize"


@dataclass(frozen=True, slots=True)
class Job:
    kind: Kind
    body: bytes
    """As the client sent it."""
    names: tuple[str, ...]
    """The names that the model is served under."""
    model: int | None
    """The model's number in the fork server; None while there is none: the body is validated, and that is all."""
    max_model_len: int = 0

    def encode(self) -> bytes:
        header = {"kind": self.kind, "names": self.names, "model": self.model, "max_model_len": self.max_model_len}
        return encode(header, self.body)

    @classmethod
    def decode(cls, header: Mapping[str, Any], blob: bytes) -> "Job":
        return cls(Kind(header["kind"]), blob, tuple(header["names"]), header["model"], header["max_model_len"])


@dataclass(frozen=True, slots=True)
class Prepared:
    """A valid request. `fields`: of its body, those that are left once there is a prompt."""

    fields: Mapping[str, Any]
    ignored: tuple[str, ...] = ()
    """Fields that were sent and have no effect."""
    prompts: tuple[Sequence[int], ...] = ()
    """Token ids, an array per prompt."""
    texts: tuple[str, ...] = ()
    """Of the prompts, where the answer repeats them."""
    content: bytes = b""
    """The answer itself, where no engine is asked."""

    def encode(self) -> bytes:
        header = {
            "fields": self.fields,
            "ignored": self.ignored,
            "prompts": list(map(len, self.prompts)),
            "texts": self.texts,
        }
        tokens = b"".join(array("I", prompt).tobytes() for prompt in self.prompts)
        return encode(header, tokens or self.content)


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that is answered with an error."""

    error: OpenAIError
    by_field: bool
    """A field of the body was the reason."""

    def encode(self) -> bytes:
        error = self.error
        shown = {
            "status": error.status,
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
            "retry_after_s": error.retry_after_s,
        }
        return encode({"error": shown, "by_field": self.by_field}, b"")


def decode_outcome(header: Mapping[str, Any], blob: bytes) -> Prepared | Refused:
    """What a worker has sent."""
    if (shown := header.get("error")) is not None:
        status, message = shown.pop("status"), shown.pop("message")
        return Refused(OpenAIError(status, message, **shown), header["by_field"])
    prompts: list[Sequence[int]] = []
    tokens = array("I")
    if header["prompts"]:
        tokens.frombytes(blob)
        first = 0
        for length in header["prompts"]:
            prompts.append(tokens[first : first + length])
            first += length
    return Prepared(
        header["fields"],
        tuple(header["ignored"]),
        tuple(prompts),
        tuple(header["texts"]),
        b"" if prompts else blob,
    )


def encode(header: Mapping[str, Any], blob: bytes) -> bytes:
    # ASCII, so that a lone half of a surrogate pair, which may be in an error's quotation, survives.
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    return b"".join((_LENGTHS.pack(len(text), len(blob)), text, blob))


class MessageDecoder:
    """Joins pieces of a stream into messages."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, piece: bytes) -> list[tuple[dict[str, Any], bytes]]:
        """Take the next piece; return the messages that are now whole."""
        self._pending += piece
        messages: list[tuple[dict[str, Any], bytes]] = []
        while len(self._pending) >= _LENGTHS.size:
            header, blob = _LENGTHS.unpack_from(self._pending)
            end = _LENGTHS.size + header + blob
            if len(self._pending) < end:
                break
            text = bytes(self._pending[_LENGTHS.size : _LENGTHS.size + header])
            messages.append((json.loads(text), bytes(self._pending[_LENGTHS.size + header : end])))
            del self._pending[:end]
        return messages
