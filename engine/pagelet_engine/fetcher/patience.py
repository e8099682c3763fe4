"""How long to go on with a source that does not answer: back-off with full jitter, bounded in time.

The time runs from the first failure after the last sign of life, so that a large model over a bad line still comes.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pagelet_engine.fetcher.failure import Interrupted

_FIRST_S, _LONGEST_S = 0.25, 15.0

Result = TypeVar("Result")


class Patience:
    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self.renew()

    def renew(self) -> None:
        """The source gave something."""
        self._failing_since_s: float | None = None
        self._attempts = 0

    async def wait(self, error: Interrupted) -> None:
        """Wait before the next attempt; raises `error` when there has been nothing for too long."""
        if self._failing_since_s is None:
            self._failing_since_s = time.monotonic()
        left_s = self._limit_s - (time.monotonic() - self._failing_since_s)
        if left_s <= 0:
            raise error
        longest_s = min(_LONGEST_S, _FIRST_S * 2**self._attempts, left_s)
        self._attempts += 1
        # Half of it at least: a server that asks for quiet gets some.
        await asyncio.sleep(random.uniform(longest_s / 2, longest_s))


async def persist(action: Callable[[], Awaitable[Result]], limit_s: float) -> Result:
    """The result of `action`, tried again while it is interrupted. Raises the last Interrupted."""
    patience = Patience(limit_s)
    while True:
        try:
            return await action()
        except Interrupted as error:
            await patience.wait(error)
