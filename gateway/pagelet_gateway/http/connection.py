"""One client's connection: bytes in, requests one after another, and every wait bounded.

Reading is ours, because it is where clients attack: a request is taken off the received bytes only when the one before
is answered, so that what a client sends ahead stays in the kernel. Answering is uvicorn's cycle. Knows no route.
"""

import asyncio
import enum
import logging
from typing import cast

from pagelet_api.openai.errors import OpenAIError, server_error, unavailable
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.utils import get_local_addr, get_remote_addr

from pagelet_gateway.http.admission import ADDRESS_FULL, client_key
from pagelet_gateway.http.cycle import Address, Cycle, UnframedCycle
from pagelet_gateway.http.deadline import Deadline
from pagelet_gateway.http.framing import IncomingBody, incoming_body
from pagelet_gateway.http.head import Head, HeadReader
from pagelet_gateway.http.port import Port
from pagelet_gateway.http.refusal import refusal

_log = logging.getLogger(__name__)

_RETRY_AFTER_S = 1


class _Phase(enum.Enum):
    HEAD = "a request is awaited, or its head is on its way"
    BODY = "a request is being answered while its body is on its way"
    ANSWER = "a request that is wholly here is being answered"
    REST = "the answer is complete, and the rest of the request's body is discarded"
    LINGER = "nothing more will be written, and what the client still sends is discarded"
    CLOSED = "what is written leaves, and that is all"


class Connection(asyncio.Protocol):
    def __init__(self, port: "Port[Connection]") -> None:
        self._port = port
        self._timeouts = port.limits.timeouts
        self._deadline = Deadline(asyncio.get_running_loop(), self._overdue)
        self._reader = HeadReader(port.limits.message)
        self._buffer = bytearray()
        """Received, and neither a head nor a body yet."""
        self._phase = _Phase.HEAD
        self._is_first = True
        self._head_begun = False
        self._body: IncomingBody | None = None
        self._cycle: Cycle | None = None
        self._left_to_discard = 0
        self._unwritten = 0

    # ---- asyncio's protocol ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._flow = FlowControl(self._transport)
        self._client: Address | None = get_remote_addr(self._transport)
        self._server = cast("Address | None", get_local_addr(self._transport))
        self._deadline.set(self._timeouts.head_s)
        port = self._port
        admission = port.table.open(self, client_key(self._client[0] if self._client else ""))
        if admission.evicted is not None:
            port.metrics.refused_connections("evicted")
            admission.evicted.evict()
        port.add(self)
        if admission.refused is not None:
            self._turn_away(admission.refused)

    def data_received(self, data: bytes) -> None:
        if self._phase is _Phase.LINGER:
            self._discard(len(data))
        elif self._phase is not _Phase.CLOSED:
            self._buffer += data
            self._advance()

    def eof_received(self) -> None:
        self._close_now()

    def connection_lost(self, exc: Exception | None) -> None:
        self._phase = _Phase.CLOSED
        self._deadline.close()
        self._buffer.clear()
        if self._cycle is not None:
            self._cycle.disconnect()
        self._flow.resume_writing()
        self._port.remove(self)

    def pause_writing(self) -> None:
        self._flow.pause_writing()
        if self._phase is _Phase.ANSWER:
            self._watch_writing()

    def resume_writing(self) -> None:
        self._flow.resume_writing()
        if self._phase is _Phase.ANSWER:
            self._deadline.clear()
        elif self._phase is _Phase.HEAD and not self._head_begun:
            self._deadline.set(self._timeouts.idle_s)

    # ---- for the server and the cycle --------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def is_closing(self) -> bool:
        return self._phase in (_Phase.LINGER, _Phase.CLOSED) or self._transport.is_closing()

    def close(self) -> None:
        """Once what is written has left. A client that still sends is read on for a while."""
        if not self.is_closing():
            if self._body is not None or self._buffer:
                self._linger()
            else:
                self._close_now()

    def leave(self) -> None:
        """Close as soon as no request is being answered."""
        if self._cycle is None or self._cycle.response_complete:
            self.close()
        else:
            self._cycle.leave()

    def evict(self) -> None:
        """Another connection takes its place, because this one waited for its client."""
        self.abort()

    def give_up_bytes(self) -> None:
        """All connections together hold too much, and this one the most."""
        message = "Too many requests are unfinished or sent ahead of an answer. Send one at a time, and try again."
        self._refuse(unavailable(message, _RETRY_AFTER_S, "too_many_bytes_held"))

    def abort(self) -> None:
        self._phase = _Phase.CLOSED
        self._transport.abort()

    # ---- requests ----------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Make of the received bytes what can be made of them now."""
        try:
            while self._buffer:
                if self._phase is _Phase.HEAD:
                    self._begin_head()
                    head = self._reader.take(self._buffer)
                    if head is None:
                        break
                    self._begin(head)
                elif self._phase in (_Phase.BODY, _Phase.REST):
                    if not self._take_body():
                        break
                else:  # one request at a time
                    self._flow.pause_reading()
                    break
            if (largest := self._port.table.hold(self, len(self._buffer))) is not None:
                largest.give_up_bytes()
        except OpenAIError as error:
            self._refuse(error)
        except Exception:
            _log.exception("a connection ends by a fault")
            self._refuse(server_error("The gateway failed at this request; the fault is logged."))

    def _begin_head(self) -> None:
        if not self._head_begun:
            self._head_begun = True
            if not self._is_first:
                self._deadline.set(self._timeouts.head_s)

    def _begin(self, head: Head) -> None:
        self._is_first = self._head_begun = False
        kind = Cycle if head.version == "1.1" else UnframedCycle
        cycle = self._cycle = kind(head, self._client, self._server, self, self._flow, self._answered)
        body = incoming_body(head.framing, self._port.limits.message)
        if body.complete:
            cycle.deliver(b"", True)
            self._await_answer()
        else:
            self._body = body
            self._phase = _Phase.BODY
            self._deadline.set(self._timeouts.body_s)
            self._port.table.wait(self)
        self._port.start(cycle)

    def _take_body(self) -> bool:
        """Whether the body is complete."""
        body, cycle = self._body, self._cycle
        assert body is not None
        assert cycle is not None
        before = len(self._buffer)
        piece = body.take(self._buffer)
        if self._phase is _Phase.BODY:
            cycle.deliver(piece, body.complete)
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self._flow.pause_reading()
        else:
            self._discard(before - len(self._buffer))
        if not body.complete:
            return False
        self._body = None
        if self._phase is _Phase.BODY:
            self._await_answer()
        elif self._phase is _Phase.REST:
            self._await_head()
        return True

    def _await_answer(self) -> None:
        self._phase = _Phase.ANSWER
        self._port.table.answer(self)
        if self._flow.write_paused:
            self._watch_writing()
        else:
            self._deadline.clear()

    def _answered(self) -> None:
        """The cycle has written all of its answer."""
        if self.is_closing():
            return
        self._flow.resume_reading()
        if self._phase is _Phase.BODY:
            self._phase = _Phase.REST
            self._left_to_discard = self._timeouts.linger_bytes
            self._deadline.set(self._timeouts.linger_s)
        else:
            self._await_head()
            if self._buffer:
                self._advance()

    def _await_head(self) -> None:
        self._phase = _Phase.HEAD
        self._port.table.wait(self)
        if self._flow.write_paused:
            self._watch_writing()
        else:
            self._deadline.set(self._timeouts.idle_s)

    # ---- ends --------------------------------------------------------------------------------------------------------

    def _refuse(self, error: OpenAIError) -> None:
        """Answer what cannot be served, and close."""
        self._port.metrics.refused_connections(error.code or str(error.status))
        cycle = self._cycle
        if cycle is not None and not cycle.response_complete:
            begun = cycle.response_started
            cycle.disconnect()
            self._flow.resume_writing()
            if begun:
                self.abort()
                return
        if not self.is_closing():
            self.write(refusal(error))
            self._linger()

    def _turn_away(self, reason: str) -> None:
        """There are too many connections. At most a few get an answer, because each stays a while to read it."""
        if self._port.refusing > self._port.limits.connections.refusing:
            self._port.metrics.refused_connections(reason)
            self.abort()
        else:
            whose = "from this address" if reason == ADDRESS_FULL else "to this gateway"
            message = f"There are too many connections {whose}. Close idle ones, or try again."
            self._refuse(unavailable(message, _RETRY_AFTER_S, reason))

    def _linger(self) -> None:
        self._phase = _Phase.LINGER
        self._buffer.clear()
        self._port.table.hold(self, 0)
        self._port.table.wait(self)
        self._transport.write_eof()
        self._flow.resume_reading()
        self._left_to_discard = self._timeouts.linger_bytes
        self._deadline.set(self._timeouts.linger_s)

    def _discard(self, received_bytes: int) -> None:
        self._left_to_discard -= received_bytes
        if self._left_to_discard < 0:
            self._close_now()

    def _close_now(self) -> None:
        self._phase = _Phase.CLOSED
        if self._cycle is not None:
            self._cycle.disconnect()
        self._transport.close()
        self._watch_writing()

    def _watch_writing(self) -> None:
        self._unwritten = self._transport.get_write_buffer_size()
        self._deadline.set(self._timeouts.write_stall_s)

    def _overdue(self) -> None:
        timeouts, phase = self._timeouts, self._phase
        if phase is _Phase.BODY and self._flow.read_paused:
            self._deadline.set(timeouts.body_s)  # it is not the client that is slow
        elif phase is _Phase.BODY:
            self._refuse(_timed_out("body", timeouts.body_s))
        elif phase is _Phase.HEAD and self._head_begun:
            self._refuse(_timed_out("head", timeouts.head_s))
        elif phase in (_Phase.REST, _Phase.LINGER) or (phase is _Phase.HEAD and not self._flow.write_paused):
            self._close_now()
        elif self._unwritten - self._transport.get_write_buffer_size() < timeouts.min_written_bytes:
            self._port.metrics.refused_connections("write_stalled")
            self.abort()
        else:
            self._watch_writing()


def _timed_out(part: str, limit_s: float) -> OpenAIError:
    return OpenAIError(
        408, f"The request's {part} did not arrive within {limit_s:g} s. Send it again.", code=f"{part}_timeout"
    )
