"""All engine requests of one HTTP request: submitted together, retried before their first token, aborted together."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pagelet_api import inference_pb2 as pb
from pagelet_api.openai.errors import OpenAIError, timed_out, unavailable

from pagelet_gateway.failure import RETRY_AFTER_S, EngineFailure
from pagelet_gateway.inbox import Inbox

MAX_ATTEMPTS = 3
MAX_BACKLOG_UPDATES = 1024
"""A client that lags this many steps behind is cut."""
_GRACE_S = 2.0  # the engine enforces the deadline; ours is for an engine that does not


class Link(Protocol):
    """The part of an engine's link that a generation uses."""

    @property
    def address(self) -> str: ...
    def submit(self, request: pb.GenerateRequest, inbox: Inbox, key: int) -> None: ...
    def abort(self, request_id: str, samples: Sequence[int] = ()) -> None: ...


Pick = Callable[[set[str]], Link | None]


def no_engine() -> OpenAIError:
    return unavailable("No engine is ready to take requests. Try again shortly.", RETRY_AFTER_S)


@dataclass(slots=True)
class _Attempt:
    request: pb.GenerateRequest
    link: Link | None = None
    tried: set[str] = field(default_factory=set)
    begun: bool = False
    ended: bool = False


class Generation:
    """Use: `start`, then `take` until the answer is complete; `close` always."""

    def __init__(
        self,
        pick: Pick,
        requests: Sequence[pb.GenerateRequest],
        *,
        timeout_s: float,
        max_backlog: int = MAX_BACKLOG_UPDATES,
        overflowed: Callable[[], None] = lambda: None,
    ) -> None:
        """`pick` names an engine not yet tried; `overflowed` is called when the taker lags beyond `max_backlog`."""
        self._pick = pick
        self._attempts = [_Attempt(request) for request in requests]
        self._inbox = Inbox(max_backlog, self._overflow)
        self._overflowed = overflowed
        self._timeout_s = timeout_s
        self._deadline_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Submit all. Raises OpenAIError 503 when no engine takes them."""
        loop = asyncio.get_running_loop()
        self._deadline_s = loop.time() + self._timeout_s
        self._timer = loop.call_later(self._timeout_s + _GRACE_S, self.end, _too_late(self._timeout_s))
        for key, attempt in enumerate(self._attempts):
            if not self._submit(key, attempt):
                raise no_engine()

    async def take(self) -> list[tuple[int, pb.RequestUpdate]]:
        """The updates since the last call, at least one, each with the number of its request. Raises OpenAIError."""
        while True:
            updates: list[tuple[int, pb.RequestUpdate]] = []
            for key, item in await self._inbox.take():
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
        for key in range(len(self._attempts)):
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
        link.submit(attempt.request, self._inbox, key)
        return True

    def _failed(self, key: int, attempt: _Attempt, failure: EngineFailure) -> None:
        attempt.link = None
        again = not attempt.begun and failure.may_succeed_elsewhere and len(attempt.tried) < MAX_ATTEMPTS
        if again and self._submit(key, attempt):
            return
        raise failure.as_error()


def _too_late(timeout_s: float) -> OpenAIError:
    return timed_out(f"The answer was not complete within the {timeout_s:g} s that a request may take here.")
