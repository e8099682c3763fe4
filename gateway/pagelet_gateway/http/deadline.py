"""A moment by which something must have happened. Moving it costs nothing; an idle process is woken once per wait."""

import asyncio
import math
from collections.abc import Callable


class Deadline:
    """One timer at most: left where it is while the deadline moves away from it, it looks again when it fires."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_overdue: Callable[[], None]) -> None:
        self._loop = loop
        self._on_overdue = on_overdue
        self._at_s = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = math.inf

    def set(self, in_s: float) -> None:
        self._at_s = self._loop.time() + in_s
        if self._at_s < self._timer_at_s:
            self._start_timer()

    def clear(self) -> None:
        self._at_s = math.inf

    def close(self) -> None:
        self.clear()
        self._stop_timer()

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer = self._loop.call_at(self._at_s, self._fire)
        self._timer_at_s = self._at_s

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at_s = None, math.inf

    def _fire(self) -> None:
        self._timer, self._timer_at_s = None, math.inf
        if self._at_s == math.inf:
            return
        if self._loop.time() < self._at_s:
            self._start_timer()
            return
        self._at_s = math.inf
        self._on_overdue()
