"""Frames on a byte stream: four bytes of length, little-endian, then that many bytes.

Pure: bytes in, frames out, however the stream was cut into pieces. Knows no sockets and no messages.
"""

import struct

MAX_FRAME_BYTES = 256 * 2**20
"""Far above any honest frame; a longer one means that the two ends have lost each other."""

_PREFIX = struct.Struct("<I")


class FrameError(Exception):
    """The stream announces a frame that no honest peer would send."""


def frame_prefix(payload: bytes) -> bytes:
    """The four bytes that go before `payload`; raises FrameError when it is too long to be sent."""
    if len(payload) > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {len(payload)} bytes is too long to send: at most {MAX_FRAME_BYTES}")
    return _PREFIX.pack(len(payload))


class FrameDecoder:
    """Joins pieces of a stream into frames."""

    def __init__(self) -> None:
        self._pending = bytearray()

    @property
    def pending_bytes(self) -> int:
        """Bytes of a frame that has not arrived whole."""
        return len(self._pending)

    def feed(self, piece: bytes) -> list[bytes]:
        """Take the next piece of the stream; return the frames that are now whole. Raises FrameError."""
        self._pending += piece
        frames: list[bytes] = []
        start = 0
        while len(self._pending) - start >= _PREFIX.size:
            (length,) = _PREFIX.unpack_from(self._pending, start)
            if length > MAX_FRAME_BYTES:
                raise FrameError(f"a frame of {length} bytes is announced: at most {MAX_FRAME_BYTES} can be honest")
            end = start + _PREFIX.size + length
            if end > len(self._pending):
                break
            frames.append(bytes(self._pending[start + _PREFIX.size : end]))
            start = end
        del self._pending[:start]
        return frames
