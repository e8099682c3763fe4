"""Gives every request an id, counts it by route and status, logs it where that is wanted, and tells clients to go.

Dates the answers, too: the server that does it by a clock of its own never sleeps.
"""

import logging
import time
import uuid
from collections.abc import Callable
from email.utils import formatdate

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pagelet_gateway.loop_lag import LoopLag
from pagelet_gateway.metrics import Metrics

_log = logging.getLogger(__name__)
_ID = "pagelet.request_id"
_CLIENT_GONE = 499  # nginx's number for a client that closed before the answer


def new_request_id() -> str:
    return uuid.uuid4().hex


def request_id(scope: Scope) -> str:
    """32 hexadecimal digits; also the answer's header x-request-id."""
    id: str = scope[_ID]
    return id


class Observer:
    """ASGI middleware. While `leaving`, every answer closes its connection: the client's next request then finds
    another gateway."""

    def __init__(self, app: ASGIApp, metrics: Metrics, log_requests: bool, leaving: Callable[[], bool]) -> None:
        self._app = app
        self._metrics = metrics
        self._log_requests = log_requests
        self._leaving = leaving
        self._loop_lag = LoopLag(metrics.loop_lag_s.observe)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope[_ID] = id = new_request_id()
        status = _CLIENT_GONE
        began_s = time.monotonic()

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = id
                headers["date"] = formatdate(usegmt=True)
                if self._leaving():
                    headers["connection"] = "close"
            await send(message)

        try:
            with self._loop_lag.watched():
                await self._app(scope, receive, observed)
        finally:
            # An unknown path is no label: anyone could make as many as they like.
            route = getattr(scope.get("route"), "path", "unknown")
            self._metrics.requests.labels(route, str(status)).inc()
            if self._log_requests:
                _log.info(
                    "%s %s %d %.3f s id=%s", scope["method"], scope["path"], status, time.monotonic() - began_s, id
                )
