"""Message bodies: where they end in the bytes received (RFC 9112, sections 6 and 7). Keeps none of them."""

import re
from typing import Protocol

from pagelet_api.openai.errors import OpenAIError, invalid

from pagelet_gateway.http.head import Framing
from pagelet_gateway.http.limits import MessageLimits

_CHUNK_LINE = re.compile(rb"0*([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t -~\x80-\xff]*)?\r\n")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n")


class IncomingBody(Protocol):
    complete: bool

    def take(self, buffer: bytearray) -> bytes:
        """Take what belongs to this body off the front of the buffer; returns its content. Raises OpenAIError."""
        ...


def incoming_body(framing: Framing, limits: MessageLimits) -> IncomingBody:
    return SizedBody(framing) if isinstance(framing, int) else ChunkedBody(limits)


class SizedBody:
    def __init__(self, length: int) -> None:
        self._left = length
        self.complete = not length

    def take(self, buffer: bytearray) -> bytes:
        piece = _take(buffer, self._left)
        self._left -= len(piece)
        self.complete = not self._left
        return piece


class ChunkedBody:
    def __init__(self, limits: MessageLimits) -> None:
        self._limits = limits
        self._left = 0
        """Of the current chunk, its line end included."""
        self._in_trailers = False
        self._trailer_bytes = 0
        self._chunks = 0
        self._bytes = 0
        self.complete = False

    def take(self, buffer: bytearray) -> bytes:
        pieces: list[bytes] = []
        position, end = 0, len(buffer)
        while position < end and not self.complete:
            if self._left > 2:
                piece = bytes(buffer[position : position + self._left - 2])
                pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
            elif self._left:
                position += self._take_line_end(buffer, position)
            else:
                taken = self._take_trailer(buffer, position) if self._in_trailers else self._take_size(buffer, position)
                if not taken:
                    break
                position += taken
        del buffer[:position]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _take_line_end(self, buffer: bytearray, position: int) -> int:
        found = buffer[position : position + self._left]
        if found != b"\r\n"[2 - self._left :][: len(found)]:
            raise _malformed("a chunk that is longer than its size")
        self._left -= len(found)
        return len(found)

    def _take_size(self, buffer: bytearray, position: int) -> int:
        """Returns how many bytes the line has; 0: it is not whole."""
        line_end = buffer.find(b"\n", position, position + self._limits.chunk_line_bytes)
        if line_end < 0:
            if len(buffer) - position >= self._limits.chunk_line_bytes:
                raise _malformed(f"a chunk's size line of more than {self._limits.chunk_line_bytes} bytes")
            return 0
        matched = _CHUNK_LINE.fullmatch(buffer, position, line_end + 1)
        if not matched:
            raise _malformed(f"the chunk size {bytes(buffer[position : line_end + 1])[:40]!r}")
        size = int(matched[1], 16)
        if size:
            self._left = size + 2
            self._chunks += 1
            self._bytes += size
            if self._chunks > self._limits.small_chunks + self._bytes // self._limits.mean_chunk_bytes:
                raise OpenAIError(
                    413,
                    f"The body comes in too many chunks: {self._chunks} for {self._bytes} bytes. Send larger ones.",
                    code="chunks_too_small",
                )
        else:
            self._in_trailers = True
        return matched.end() - position

    def _take_trailer(self, buffer: bytearray, position: int) -> int:
        """Returns how many bytes the line has; 0: it is not whole. Trailers have no effect."""
        most = self._limits.trailer_bytes - self._trailer_bytes
        line_end = buffer.find(b"\n", position, position + most)
        if line_end < 0:
            if len(buffer) - position >= most:
                raise OpenAIError(
                    431, f"At most {self._limits.trailer_bytes} bytes of trailers are taken.", code="headers_too_large"
                )
            return 0
        taken = line_end + 1 - position
        self._trailer_bytes += taken
        if buffer[position : line_end + 1] == b"\r\n":
            self.complete = True
        elif not _TRAILER.fullmatch(buffer, position, line_end + 1):
            raise _malformed("a trailer that is no header")
        return taken


def _take(buffer: bytearray, most: int) -> bytes:
    if most >= len(buffer):
        piece = bytes(buffer)
        buffer.clear()
        return piece
    with memoryview(buffer) as view:
        piece = bytes(view[:most])
    del buffer[:most]
    return piece


def _malformed(found: str) -> OpenAIError:
    return invalid(f"The chunked body cannot be read: found {found}.", code="invalid_http")
