"""The core's end of the pipe: it receives without blocking while there is work, and never waits for its reader."""

import select
import socket
import threading
from contextlib import suppress

from pagelet_engine.framing import FrameDecoder, frame_prefix

MAX_UNSENT_BYTES = 256 * 2**20
"""A front this far behind is stuck: it reads all the time, and bounds what each client may lag."""

_RECEIVE_BYTES = 1 << 20


class PipeClosed(Exception):
    """The front has gone: there is nobody left to serve."""


class CoreChannel:
    """Frames over a connected stream socket, which it owns."""

    def __init__(self, pipe: socket.socket, max_unsent_bytes: int = MAX_UNSENT_BYTES) -> None:
        pipe.setblocking(False)
        self._pipe = pipe
        self._decoder = FrameDecoder()
        self._unsent = bytearray()
        self._sending = threading.Lock()  # the watch over the ranks says the last words from a thread of its own
        self._max_unsent_bytes = max_unsent_bytes
        self._poll = select.poll()
        self._received = memoryview(bytearray(_RECEIVE_BYTES))

    def check_open(self) -> None:
        """Raise PipeClosed if the front has gone already."""
        with suppress(BlockingIOError):
            if not self._pipe.recv(1, socket.MSG_PEEK):
                raise PipeClosed("the front has closed the pipe")

    def receive(self, wait_s: float) -> list[bytes]:
        """The frames that have arrived; waits up to `wait_s` for the first when there is none.

        Raises PipeClosed.
        """
        if wait_s > 0:
            # With bytes left to send, also wake when the front has read: then they can go on their way.
            self._poll.register(self._pipe, select.POLLIN | (select.POLLOUT if self._unsent else 0))
            self._poll.poll(wait_s * 1000)
        with self._sending:
            self._flush()
        try:
            count = self._pipe.recv_into(self._received)
        except BlockingIOError:
            return []
        except ConnectionError as error:
            raise PipeClosed("the front has closed the pipe") from error
        if not count:
            raise PipeClosed("the front has closed the pipe")
        return self._decoder.feed(bytes(self._received[:count]))

    def send(self, payload: bytes) -> None:
        """Hand a frame over, or keep what the front has not room for until it has.

        Raises PipeClosed, also when the front is hopelessly behind.
        """
        with self._sending:
            self._enqueue(frame_prefix(payload), payload)

    def close(self, patience_s: float) -> None:
        """Send what is left, for at most `patience_s` and while the front reads, then close."""
        with self._sending:
            try:
                if self._unsent:
                    self._pipe.settimeout(patience_s)
                    self._pipe.sendall(self._unsent)
            except OSError:
                pass  # The front has gone or is stuck; it will see the pipe close all the same.
            self._pipe.close()

    def _enqueue(self, prefix: bytes, payload: bytes) -> None:
        if self._unsent:
            self._unsent += prefix
            self._unsent += payload
            self._flush()
            if len(self._unsent) > self._max_unsent_bytes:
                raise PipeClosed(f"the front has left {len(self._unsent)} bytes unread: it is stuck")
            return
        sent = self._send([prefix, payload])
        if sent < len(prefix) + len(payload):
            self._unsent += (prefix + payload)[sent:]

    def _flush(self) -> None:
        if self._unsent:
            del self._unsent[: self._send([bytes(self._unsent[: 1 << 20])])]

    def _send(self, pieces: list[bytes]) -> int:
        try:
            return self._pipe.sendmsg(pieces)
        except BlockingIOError:
            return 0
        except ConnectionError as error:
            raise PipeClosed("the front has closed the pipe") from error
