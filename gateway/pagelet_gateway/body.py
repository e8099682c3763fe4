"""Reads a request's body within bounds of size and time. Knows nothing of what is in it."""

import asyncio

from pagelet_api.openai.bounds import MAX_BODY_BYTES
from pagelet_api.openai.errors import OpenAIError, invalid
from starlette.requests import Request

_DISCARD_BYTES = 64 * 2**20
"""A client still sends while it is refused: reading on lets it see the answer instead of a broken connection."""
_READ_TIMEOUT_S = 60.0


def _too_large(found: str) -> OpenAIError:
    return OpenAIError(
        413,
        f"The body is too large: at most {MAX_BODY_BYTES} bytes are taken, found {found}. Split the request.",
        code="body_too_large",
    )


async def read_body(request: Request) -> bytes:
    """Raises OpenAIError 413 or 408, and starlette's ClientDisconnect."""
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > MAX_BODY_BYTES and "expect" in request.headers:
        raise _too_large(stated)  # it has not been sent yet
    data = bytearray()
    received = 0
    try:
        async with asyncio.timeout(_READ_TIMEOUT_S):
            async for chunk in request.stream():
                received += len(chunk)
                if received <= MAX_BODY_BYTES:
                    data += chunk
                elif received > _DISCARD_BYTES:
                    break
    except TimeoutError as error:
        raise OpenAIError(408, f"The body did not arrive within {_READ_TIMEOUT_S:g} s.", code="body_timeout") from error
    if received > MAX_BODY_BYTES:
        raise _too_large(stated or "more")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise invalid("content-encoding: compressed bodies are not taken; send plain JSON.", code="invalid_encoding")
    return bytes(data)
