"""A connection between rank 0 and another rank: frames both ways, and a closed line as the news of a death.

A receive sleeps until something comes, for as long as it takes; that is why headers do not go through the process
group, whose receives time out or spin. Knows no messages.
"""

import select
import socket
import threading
from collections import deque

from pagelet_engine.framing import FrameDecoder, FrameError, frame_prefix

UNHEARD_S = 10
"""A host that has vanished answers nothing: a line whose bytes stay unacknowledged so long counts as closed."""

_RECEIVE_BYTES = 1 << 16


class LineClosed(Exception):
    """The other end has gone, or says what is no frame."""


class Line:
    """One end, over a connected TCP socket, which it owns. Any thread may send; one at a time may receive."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(True)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_S * 1000)
        self._connection = connection
        self._sending = threading.Lock()
        self._decoder = FrameDecoder()
        self._frames: deque[bytes] = deque()

    def fileno(self) -> int:
        return self._connection.fileno()

    def send(self, payload: bytes) -> None:
        """Raises LineClosed."""
        with self._sending:
            try:
                self._connection.sendall(frame_prefix(payload) + payload)
            except OSError as error:
                raise LineClosed(str(error)) from error

    def receive(self) -> bytes:
        """The next frame, however long it takes. Raises LineClosed."""
        while not self._frames:
            self._take(0)
        return self._frames.popleft()

    def receive_within(self, patience_s: float) -> bytes | None:
        """The next frame, or None when none has come whole. Raises LineClosed."""
        if not self._frames and select.select([self], [], [], patience_s)[0]:
            self._take(socket.MSG_DONTWAIT)
        return self._frames.popleft() if self._frames else None

    def arrived(self) -> list[bytes]:
        """The frames that have arrived whole, without waiting. Raises LineClosed when there is nothing more to come."""
        if not self._frames:
            self._take(socket.MSG_DONTWAIT)
        frames = list(self._frames)
        self._frames.clear()
        return frames

    def closes_within(self, patience_s: float) -> bool:
        """Whether the other end closes the line, or has; what it said before stays to be received."""
        poll = select.poll()
        poll.register(self._connection, select.POLLRDHUP)
        return bool(poll.poll(patience_s * 1000))

    def close(self) -> None:
        self._connection.close()

    def _take(self, flags: int) -> None:
        try:
            piece = self._connection.recv(_RECEIVE_BYTES, flags)
            if not piece:
                raise LineClosed("the other end has closed the line")
            self._frames += self._decoder.feed(piece)
        except BlockingIOError:
            return
        except (OSError, FrameError) as error:
            raise LineClosed(str(error)) from error
