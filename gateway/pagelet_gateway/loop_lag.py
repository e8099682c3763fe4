"""How late the event loop is: what every stream of this gateway waits for when one thing takes long.

Looked at while requests are being answered, by a timer that comes late when the loop does; an idle gateway sleeps.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERVAL_S = 0.05


class LoopLag:
    def __init__(self, observe: Callable[[float], None]) -> None:
        """`observe` gets the seconds of each look, 0 or more."""
        self._observe = observe
        self._requests = 0
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """For as long as a request is answered."""
        self._requests += 1
        if self._timer is None:
            self._look_later()
        try:
            yield
        finally:
            self._requests -= 1

    def _look_later(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time() + INTERVAL_S
        self._timer = loop.call_at(due_s, self._look, due_s)

    def _look(self, due_s: float) -> None:
        self._observe(max(0.0, asyncio.get_running_loop().time() - due_s))
        self._timer = None
        if self._requests:
            self._look_later()
