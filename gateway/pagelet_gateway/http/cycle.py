"""A request and its answer as an ASGI application sees them: uvicorn's cycle, and what it lacks.

Knows no bytes received and no time.
"""

import asyncio
import logging
import urllib.parse
from collections.abc import Callable
from typing import Any, Protocol, cast

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from pagelet_gateway.http.head import Head

_log = logging.getLogger(__name__)

Address = tuple[str, int]


class AnswerTransport(Protocol):
    """What a cycle does with a connection."""

    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...
    def is_closing(self) -> bool: ...


class Cycle(RequestResponseCycle):
    def __init__(
        self,
        head: Head,
        client: Address | None,
        server: Address | None,
        transport: AnswerTransport,
        flow: FlowControl,
        on_response: Callable[[], None],
    ) -> None:
        super().__init__(
            scope=cast(Any, _scope(head, client, server)),
            transport=cast(asyncio.Transport, transport),
            flow=flow,
            logger=_log,
            access_logger=_log,
            access_log=False,
            default_headers=[],
            message_event=asyncio.Event(),
            expect_100_continue=head.expects_continue,
            # Whether the body comes cannot be known, unless it is asked for.
            keep_alive=head.keep_alive and not head.expects_continue,
            on_response=on_response,
        )
        self._may_stay = head.keep_alive

    async def receive(self) -> Any:
        if self.waiting_for_100_continue:
            self.keep_alive = self._may_stay
        return await super().receive()

    def leave(self) -> None:
        """Let the connection end with this answer."""
        self.keep_alive = self._may_stay = False

    def deliver(self, piece: bytes, complete: bool) -> None:
        """More of the request's body."""
        if not self.response_complete:
            self.body += piece
            self.more_body = not complete
            self.message_event.set()

    def disconnect(self) -> None:
        """The client is gone, or is not listened to any more."""
        if not self.response_complete:
            self.disconnected = True
        self.message_event.set()


class UnframedCycle(Cycle):
    """HTTP/1.0 knows no chunks: an answer of unstated length ends with its connection."""

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.chunked_encoding = False
        else:
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)


def _scope(head: Head, client: Address | None, server: Address | None) -> dict[str, Any]:
    path = head.path.decode("ascii")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": head.version,
        "server": server,
        "client": client,
        "scheme": "http",
        "root_path": "",
        "headers": head.headers,
        "state": {},
        "method": head.method,
        "path": urllib.parse.unquote(path) if "%" in path else path,
        "raw_path": head.path,
        "query_string": head.query,
    }
