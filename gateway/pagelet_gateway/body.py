"""Reads a request's body within bounds of size, time, and the memory that all bodies share. Knows nothing of what is
in it.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from pagelet_api.gateway_memory import LARGE_BODIES_BYTES, SMALL_BODIES_BYTES, SMALL_BODY_BYTES
from pagelet_api.openai.bounds import MAX_BODY_BYTES
from pagelet_api.openai.errors import OpenAIError, invalid, unavailable
from starlette.requests import Request

from pagelet_gateway.byte_budget import ByteBudget, Hold, OverBudget

_DISCARD_BYTES = 64 * 2**20
"""A client still sends while it is refused: reading on lets it see the answer instead of a broken connection."""
_READ_TIMEOUT_S = 60.0
_RETRY_AFTER_S = 1


class BodyMemory:
    """What the bodies of all requests hold. One client's may hold half of it."""

    def __init__(self, small_bytes: int = SMALL_BODIES_BYTES, large_bytes: int = LARGE_BODIES_BYTES) -> None:
        self._small = ByteBudget(small_bytes, small_bytes // 2)
        self._large = ByteBudget(large_bytes, large_bytes // 2)

    @property
    def held_bytes(self) -> int:
        return self._small.held_bytes + self._large.held_bytes

    @contextmanager
    def hold(self, client: str) -> Iterator["BodyHold"]:
        """For one body, for as long as it is there."""
        with self._small.hold(client) as small, self._large.hold(client) as large:
            yield BodyHold(small, large)


class BodyHold:
    def __init__(self, small: Hold, large: Hold) -> None:
        self._small, self._large = small, large

    def grow(self, num_bytes: int) -> None:
        """Raises OpenAIError 503 when there is no room for so much more."""
        small = min(num_bytes, SMALL_BODY_BYTES - self._small.num_bytes)
        try:
            self._small.grow(small)
            self._large.grow(num_bytes - small)
        except OverBudget as error:
            raise unavailable(
                f"This gateway holds as many bytes of requests as it may: {error}. Send the request again.",
                _RETRY_AFTER_S,
                "gateway_busy",
            ) from error


def _too_large(found: str) -> OpenAIError:
    return OpenAIError(
        413,
        f"The body is too large: at most {MAX_BODY_BYTES} bytes are taken, found {found}. Split the request.",
        code="body_too_large",
    )


async def read_body(request: Request, hold: BodyHold) -> bytes:
    """Raises OpenAIError 413, 408 or 503, and starlette's ClientDisconnect."""
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > MAX_BODY_BYTES and "expect" in request.headers:
        raise _too_large(stated)  # it has not been sent yet
    data = bytearray()
    received = 0
    refusal: OpenAIError | None = None
    try:
        async with asyncio.timeout(_READ_TIMEOUT_S):
            async for chunk in request.stream():
                received += len(chunk)
                if refusal is None and received <= MAX_BODY_BYTES:
                    try:
                        hold.grow(len(chunk))
                        data += chunk
                    except OpenAIError as error:
                        refusal = error
                        data.clear()
                elif received > _DISCARD_BYTES:
                    break
    except TimeoutError as error:
        raise OpenAIError(408, f"The body did not arrive within {_READ_TIMEOUT_S:g} s.", code="body_timeout") from error
    if received > MAX_BODY_BYTES:
        raise _too_large(stated or "more")
    if refusal is not None:
        raise refusal
    if request.headers.get("content-encoding", "identity") != "identity":
        raise invalid("content-encoding: compressed bodies are not taken; send plain JSON.", code="invalid_encoding")
    return bytes(data)
