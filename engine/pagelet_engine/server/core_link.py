"""The front's end of the pipe: frames from the core as they come, commands to it gathered into one frame a turn.

Owns the bound on what waits for the core. Knows no requests.
"""

import asyncio
import socket
from collections.abc import Callable

from pagelet_engine.framing import FrameDecoder, FrameError, frame_prefix
from pagelet_engine.server import pipe_pb2 as pipe

MAX_WAITING_BYTES = 64 * 2**20
"""Commands that the core has not read. It reads between steps, so this much means that it hangs or is flooded."""


class CoreLink(asyncio.Protocol):
    """Once joined to the core: commands up, frames down; `closed` is set when the core's end is gone."""

    def __init__(self, on_frame: Callable[[pipe.CoreFrame], None]) -> None:
        self._on_frame = on_frame
        self._decoder = FrameDecoder()
        self._commands = pipe.CommandFrame()
        self._gathered_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.closed = asyncio.Event()

    async def join(self, pipe_end: socket.socket) -> None:
        """Start reading; takes the socket over."""
        await self._loop.create_connection(lambda: self, sock=pipe_end)

    @property
    def is_full(self) -> bool:
        """Too much waits for the core already."""
        waiting = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return waiting + self._gathered_bytes > MAX_WAITING_BYTES

    def send(self, command: pipe.Command) -> None:
        """Send the command with the others of this turn of the event loop."""
        if not self._commands.commands:
            self._loop.call_soon(self._flush)
        self._commands.commands.append(command)
        self._gathered_bytes += command.ByteSize()

    def close(self) -> None:
        """Send what is gathered and hang up: the core ends."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            frames = self._decoder.feed(data)
        except FrameError:
            # The stream is lost beyond repair; hanging up ends the core, and its end is reported like any other.
            self.close()
            return
        for payload in frames:
            self._on_frame(pipe.CoreFrame.FromString(payload))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.closed.set()

    def _flush(self) -> None:
        if self._transport is None or not self._commands.commands:
            return
        payload = self._commands.SerializeToString()
        self._commands = pipe.CommandFrame()
        self._gathered_bytes = 0
        self._transport.write(frame_prefix(payload) + payload)
