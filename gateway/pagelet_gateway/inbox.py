"""What the task of one HTTP request has yet to take: the updates of its requests in the engines.

Filled by the sessions' readers, which never wait: a taker that lags beyond the bound has its own request ended, and
nobody else's time is lost.
"""

import asyncio
from collections.abc import Callable

from pagelet_api import inference_pb2 as pb
from pagelet_api.openai.errors import OpenAIError

from pagelet_gateway.failure import EngineFailure

Item = tuple[int, pb.RequestUpdate | EngineFailure]
"""Which of the HTTP request's engine requests, and what happened to it."""


class Inbox:
    def __init__(self, max_items: int, overflowed: Callable[[], None]) -> None:
        """`overflowed` is called once, when more than `max_items` wait."""
        self._items: list[Item] = []
        self._max_items = max_items
        self._overflowed = overflowed
        self._taker: asyncio.Future[None] | None = None
        self._end: OpenAIError | None = None

    def push(self, key: int, item: pb.RequestUpdate | EngineFailure) -> None:
        if len(self._items) >= self._max_items:
            if self._end is None:
                self.end(OpenAIError(500, "the client reads too slowly"))
                self._overflowed()
            return
        self._items.append((key, item))
        self._wake()

    def end(self, reason: OpenAIError) -> None:
        """Make the taker raise `reason` after what already waits; the first reason stands."""
        self._end = self._end or reason
        self._wake()

    async def take(self) -> list[Item]:
        """Everything that waits, at least one item. Raises the reason given to `end`."""
        while not self._items:
            if self._end is not None:
                raise self._end
            self._taker = asyncio.get_running_loop().create_future()
            await self._taker
        items, self._items = self._items, []
        return items

    def _wake(self) -> None:
        if self._taker is not None and not self._taker.done():
            self._taker.set_result(None)
