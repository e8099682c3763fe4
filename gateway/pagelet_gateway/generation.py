"""All engine requests of one HTTP request: submitted together, retried before their first token, aborted together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import grpc
from pagelet_api import inference_pb2 as pb
from pagelet_api.openai.errors import OpenAIError, timed_out

from pagelet_gateway.failure import EngineFailure
from pagelet_gateway.inbox import Express, Inbox

MAX_ATTEMPTS = 3
MAX_LOSSES = 2
"""Engines that may go away under one request before it is suspected of it."""
MAX_BACKLOG_UPDATES = 1024
"""A client that lags this many steps behind is cut."""
REQUESTS_PER_TURN = 16
"""Of the event loop: long prompts take a quarter of a millisecond each."""
_GRACE_S = 2.0  # the engine enforces the deadline; ours is for an engine that does not


class Link(Protocol):
    """The part of an engine's link that a generation uses."""

    @property
    def address(self) -> str: ...
    def submit(self, request: pb.GenerateRequest, inbox: Inbox, key: int) -> None: ...
    def abort(self, request_id: str, samples: Sequence[int] = ()) -> None: ...


Pick = Callable[[set[str]], Link | None]
Wait = Callable[[], Awaitable[bool]]


_NO_ENGINE = EngineFailure(grpc.StatusCode.UNAVAILABLE, "No engine is ready to take requests. Try again shortly.")


def no_engine() -> OpenAIError:
    return _NO_ENGINE.as_error()


async def _no_waiting() -> bool:
    return False


@dataclass(slots=True)
class _Attempt:
    request: pb.GenerateRequest
    link: Link | None = None
    tried: set[str] = field(default_factory=set)
    submitted: int = 0
    losses: int = 0
    begun: bool = False
    ended: bool = False
    given_up: bool = False
    waiting: asyncio.Task[None] | None = None
    """For an engine to come."""


class Generation:
    """Use: `start`, then `take` until the answer is complete; `close` always."""

    def __init__(
        self,
        pick: Pick,
        requests: Sequence[pb.GenerateRequest],
        *,
        timeout_s: float,
        wait: Wait = _no_waiting,
        max_backlog: int = MAX_BACKLOG_UPDATES,
        overflowed: Callable[[], None] = lambda: None,
    ) -> None:
        """`pick` names an engine not yet tried. `wait` returns when there is an engine, or False when waiting is of no
        use. `overflowed` is called when the taker lags beyond `max_backlog`.
        """
        self._pick = pick
        self._wait = wait
        self._attempts = [_Attempt(request) for request in requests]
        self._inbox = Inbox(max_backlog, self._overflow)
        self._overflowed = overflowed
        self._timeout_s = timeout_s
        self._deadline_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Submit all; when no engine takes them, `take` says so. Others have their turns in between."""
        loop = asyncio.get_running_loop()
        self._deadline_s = loop.time() + self._timeout_s
        self._timer = loop.call_later(self._timeout_s + _GRACE_S, self.end, _too_late(self._timeout_s))
        for key, attempt in enumerate(self._attempts):
            if key and key % REQUESTS_PER_TURN == 0:
                await asyncio.sleep(0)
            if not self._submit(key, attempt):
                attempt.waiting = asyncio.create_task(self._submit_later(key, attempt, _NO_ENGINE))

    async def take(self, express: Express | None = None) -> list[tuple[int, pb.RequestUpdate]]:
        """The updates since the last call, at least one, each with the number of its request. Raises OpenAIError.

        While there is none, tokens that are nothing but one more go to `express`, which may take them.
        """
        while True:
            updates: list[tuple[int, pb.RequestUpdate]] = []
            for key, item in await self._inbox.take(express):
                attempt = self._attempts[key]
                if isinstance(item, EngineFailure):
                    self._failed(key, attempt, item)
                    continue
                attempt.begun = True
                attempt.ended = attempt.ended or item.finished
                updates.append((key, item))
            if updates:
                return updates

    def abort_sample(self, key: int, sample: int) -> None:
        """The sample needs no more tokens."""
        attempt = self._attempts[key]
        if attempt.link is not None and not attempt.ended:
            attempt.link.abort(attempt.request.request_id, [sample])

    def abort(self, key: int) -> None:
        """The request needs no more tokens in any sample."""
        attempt = self._attempts[key]
        if attempt.link is not None and not attempt.ended:
            attempt.ended = True
            attempt.link.abort(attempt.request.request_id)

    def end(self, reason: OpenAIError) -> None:
        """Make `take` raise `reason`: the client has gone, time is up, the gateway stops."""
        self._inbox.end(reason)

    def close(self) -> None:
        """Abort whatever still runs."""
        if self._timer is not None:
            self._timer.cancel()
        for key, attempt in enumerate(self._attempts):
            if attempt.waiting is not None:
                attempt.waiting.cancel()
            self.abort(key)

    def _overflow(self) -> None:
        self.close()
        self._overflowed()

    def _submit(self, key: int, attempt: _Attempt) -> bool:
        link = self._pick(attempt.tried)
        if link is None:
            return False
        left_s = self._deadline_s - asyncio.get_running_loop().time()
        attempt.request.deadline_ms = max(1, int(left_s * 1000))
        attempt.link = link
        attempt.tried.add(link.address)
        attempt.submitted += 1
        link.submit(attempt.request, self._inbox, key)
        return True

    def _failed(self, key: int, attempt: _Attempt, failure: EngineFailure) -> None:
        attempt.link = None
        attempt.losses += failure.may_be_its_own_fault
        worth_it = failure.may_succeed_elsewhere and attempt.submitted < MAX_ATTEMPTS and attempt.losses < MAX_LOSSES
        if attempt.begun or attempt.given_up or not worth_it:
            raise failure.as_error()
        if self._submit(key, attempt):
            return
        if self._pick(set()) is not None:  # there are engines, and all have been asked
            raise failure.as_error()
        attempt.waiting = asyncio.create_task(self._submit_later(key, attempt, failure))

    async def _submit_later(self, key: int, attempt: _Attempt, failure: EngineFailure) -> None:
        """To the next engine that comes, be it one that was tried and has come back; else the request has failed."""
        if await self._wait():
            attempt.tried.clear()
            if self._submit(key, attempt):
                return
        attempt.given_up = True
        self._inbox.push(key, failure)


def _too_late(timeout_s: float) -> OpenAIError:
    return timed_out(f"The answer was not complete within the {timeout_s:g} s that a request may take here.")
