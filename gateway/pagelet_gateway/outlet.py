"""The body of a streamed answer on its way to one client: ASGI's `send`, and a way to use it where no task is.

Knows no tokens and no events.
"""

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any

from starlette.types import Message, Send


class Outlet:
    def __init__(self, send: Send) -> None:
        """`send`: once it has begun the response."""
        self._send = send
        self._rest: asyncio.Task[None] | None = None
        """Of a piece that had to wait for the client."""

    @property
    def is_free(self) -> bool:
        """Whether `write_now` may be called: the client is not behind."""
        return self._rest is None or self._rest.done()

    async def write(self, piece: bytes, *, more: bool = True) -> None:
        """Send the piece after all others; waits for as long as the client is behind."""
        if self._rest is not None:
            await self._rest
            self._rest = None
        await self._send(_body(piece, more))

    def write_now(self, piece: bytes) -> None:
        """Send the piece without a task to wait in. A server's `send` does not wait while the client keeps up, so it is
        run right here to its end; where it does wait, the rest of it gets a task."""
        sending: Any = self._send(_body(piece, True))
        try:
            waits_for = sending.send(None)
        except StopIteration:
            return
        self._rest = asyncio.create_task(_finish(sending, waits_for))

    def close(self) -> None:
        """Nothing more will be written, and what still waits need not be."""
        if self._rest is not None:
            self._rest.cancel()


def _body(piece: bytes, more: bool) -> Message:
    return {"type": "http.response.body", "body": piece, "more_body": more}


async def _finish(begun: Coroutine[Any, Any, None], waits_for: object) -> None:
    await _from_here(begun, waits_for)


@types.coroutine
def _from_here(begun: Coroutine[Any, Any, None], waits_for: object) -> Generator[Any, Any, None]:
    """Let the task that runs this wait for what `begun` waits for, then run the rest of it."""
    yield waits_for
    yield from begun
