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

Express = Callable[[int, int, int, float], bool]
"""(which engine request, sample's index, its next token, when that came on the loop's clock) → whether it is done with
the token. Called where the token arrives: it must not wait."""


MAX_LAGGING_BYTES = 4 * 2**20
"""Of updates that wait behind others: what a slow reader of log probabilities may cost."""


class Inbox:
    def __init__(self, max_items: int, overflowed: Callable[[], None]) -> None:
        """`overflowed` is called once, when more than `max_items` wait, or too many bytes of them."""
        self._items: list[Item] = []
        self._lagging_bytes = 0
        """Of those that came while others waited."""
        self._max_items = max_items
        self._overflowed = overflowed
        self._taker: asyncio.Future[None] | None = None
        self._express: Express | None = None
        self._end: Exception | None = None

    def push(self, key: int, item: pb.RequestUpdate | EngineFailure) -> None:
        if self._items and isinstance(item, pb.RequestUpdate):
            self._lagging_bytes += item.ByteSize()
        if len(self._items) >= self._max_items or self._lagging_bytes > MAX_LAGGING_BYTES:
            if self._end is None:
                self.end(OpenAIError(500, "the client reads too slowly"))
                self._overflowed()
            return
        self._items.append((key, item))
        self._wake()

    def push_drawn(self, key: int, index: int, token: int, came_s: float) -> None:
        """One more token of a sample and nothing else: by express where the taker has one, else like all that comes."""
        if self._express is not None:
            try:
                if self._express(key, index, token, came_s):
                    return
            except Exception as fault:  # of the taker's, in the sessions' reader: the others' time is not to suffer
                self.end(fault)
                return
        self.push(key, pb.RequestUpdate(samples=(pb.SampleUpdate(index=index, token_ids=(token,)),)))

    def end(self, reason: Exception) -> None:
        """Make the taker raise `reason` after what already waits; the first reason stands."""
        self._end = self._end or reason
        self._wake()

    async def take(self, express: Express | None = None) -> list[Item]:
        """Everything that waits, at least one item; while there is none, drawn tokens go to `express`.

        Raises the reason given to `end`.
        """
        while not self._items:
            if self._end is not None:
                raise self._end
            self._taker = asyncio.get_running_loop().create_future()
            self._express = express
            await self._taker
        items, self._items = self._items, []
        self._lagging_bytes = 0
        return items

    def _wake(self) -> None:
        self._express = None  # what comes now comes after what waits
        if self._taker is not None and not self._taker.done():
            self._taker.set_result(None)
