"""A deadline that moves: one timer, which fires when it should."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from pagelet_gateway.http.deadline import Deadline


class FakeTimer:
    def __init__(self, at_s: float, call: Callable[[], None]) -> None:
        self.at_s, self.call, self.cancelled = at_s, call, False

    def cancel(self) -> None:
        self.cancelled = True


class FakeLoop:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.timers: list[FakeTimer] = []

    def time(self) -> float:
        return self.now_s

    def call_at(self, at_s: float, call: Callable[[], None]) -> Any:
        self.timers.append(FakeTimer(at_s, call))
        return self.timers[-1]

    def pass_to(self, now_s: float) -> None:
        while due := [timer for timer in self.timers if timer.at_s <= now_s and not timer.cancelled]:
            timer = min(due, key=lambda timer: timer.at_s)
            self.timers.remove(timer)
            self.now_s = timer.at_s
            timer.call()
        self.now_s = now_s

    @property
    def live(self) -> list[float]:
        return [timer.at_s for timer in self.timers if not timer.cancelled]


def make() -> tuple[FakeLoop, Deadline, list[float]]:
    loop, fired = FakeLoop(), list[float]()
    return loop, Deadline(cast(asyncio.AbstractEventLoop, loop), lambda: fired.append(loop.now_s)), fired


def test_it_fires_once() -> None:
    loop, deadline, fired = make()
    deadline.set(10)
    loop.pass_to(100)
    assert (fired, loop.live) == ([10], [])


def test_moving_it_away_makes_no_timer() -> None:
    loop, deadline, fired = make()
    for now_s in range(9):
        loop.pass_to(now_s)
        deadline.set(10)
    assert len(loop.timers) == 1
    loop.pass_to(17.9)
    assert fired == []
    loop.pass_to(18)
    assert fired == [18]


def test_moving_it_nearer_is_kept() -> None:
    loop, deadline, fired = make()
    deadline.set(75)
    deadline.set(20)
    assert loop.live == [20]
    loop.pass_to(100)
    assert fired == [20]


def test_a_cleared_one_lets_the_process_sleep() -> None:
    loop, deadline, fired = make()
    deadline.set(10)
    deadline.clear()
    loop.pass_to(50)
    assert (fired, loop.live) == ([], [])
    deadline.set(5)
    deadline.close()
    assert loop.live == []
