"""Messages from clients, from bytes: how long each may be, and parsed only within that.

Parsing holds the event loop and takes up to 40 ms per MiB where a client means ill, so a message is measured against
the longest request that the loaded model could serve before it is parsed. Pure.
"""

from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from pagelet_api import inference_pb2 as pb

MAX_MESSAGE_BYTES = 8 * 2**20
"""Of any RPC: gRPC itself refuses a longer message with RESOURCE_EXHAUSTED, which ends its whole stream. A prompt of a
million tokens has at most 5 MiB."""

MAX_SMALL_MESSAGE_BYTES = 64 * 1024
"""Of an RPC that takes no prompt."""

_TOKEN_BYTES = 5  # an id, which may be outside of the vocabulary: then it is refused with a sentence
_OTHER_BYTES = 128 * 1024  # biases, stops and names at their limits are a quarter of this

AnyMessage = TypeVar("AnyMessage", bound=Message)


class InvalidMessage(Exception):
    """Bytes that are no message for this engine; the message says what was wanted and what was found."""


def max_request_bytes(model: pb.ModelInfo | None) -> int:
    """Of a request for this model; none is served before there is one."""
    return MAX_SMALL_MESSAGE_BYTES if model is None else _TOKEN_BYTES * model.max_model_len + _OTHER_BYTES


def parse(kind: type[AnyMessage], data: bytes, max_bytes: int) -> AnyMessage:
    """The message. Raises InvalidMessage."""
    name = kind.DESCRIPTOR.name
    if len(data) > max_bytes:
        raise InvalidMessage(
            f"{name} has {len(data)} bytes, at most {max_bytes} can be meant for this engine: send a shorter prompt"
        )
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise InvalidMessage(f"wanted a {name}, found {len(data)} bytes that are none") from error
