"""Every bound of the HTTP edge, with its reason. Decides nothing."""

from dataclasses import dataclass, field

from pagelet_api.gateway_memory import CONNECTIONS_BYTES

_MOST_CONNECTIONS = 4096
"""Far more than engines behind one gateway can answer at once; each may hold the bytes of an unfinished head."""
_RESERVED_DESCRIPTORS = 256
"""For the ops port, engines, pools and files: they must work while every public connection is taken."""


@dataclass(frozen=True, slots=True)
class MessageLimits:
    """Of one request, its body's size aside: that is its reader's concern."""

    target_bytes: int = 16 * 2**10  # beyond it: 414
    header_bytes: int = 32 * 2**10  # of one header; beyond it, and beyond the next two: 431
    headers: int = 128
    head_bytes: int = 64 * 2**10  # other servers take 8 to 64 KiB; what is larger is a token gone wrong
    blank_bytes: int = 16  # line ends before a request: old clients send one after a body
    chunk_line_bytes: int = 256  # a size and its extensions, which nothing here acts on
    trailer_bytes: int = 8 * 2**10
    small_chunks: int = 8192
    mean_chunk_bytes: int = 64
    """A body may have `small_chunks`, and one more per `mean_chunk_bytes` of it. Tiny chunks cost far more than their
    bytes: 8 MiB one by one would be 10 s of work."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    head_s: float = 20.0
    """From a connection's start, or from the first byte of a later head, until the whole head is there."""
    idle_s: float = 75.0
    """Between requests; more than the 60 s of usual proxies, so that they close first."""
    body_s: float = 90.0
    """For a whole body. Its reader answers earlier, and with a better sentence: this is for routes that read none."""
    write_stall_s: float = 60.0
    min_written_bytes: int = 64 * 2**10
    """A client that is behind must take this much per `write_stall_s`. One that acknowledges nothing for as long is
    closed by the kernel."""
    linger_s: float = 5.0
    linger_bytes: int = 64 * 2**20
    """A client that still sends when its answer is complete is read on for this long, because closing at once would
    reset the connection, and the answer would be lost with it."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Of one port."""

    total: int = _MOST_CONNECTIONS
    per_address: int = _MOST_CONNECTIONS // 2
    """Half, since a proxy, an ingress or a node that masks its clients is one address for everybody behind it."""
    refusing: int = 64
    """Connections beyond the limits that get an answer; further ones are closed without one."""
    held_bytes: int = CONNECTIONS_BYTES // 2
    """In all: unfinished heads, and requests sent ahead of the answer to an earlier one. The other half is for what is
    on its way out, and for the connections themselves."""

    @classmethod
    def within(cls, descriptors: int) -> "ConnectionLimits":
        """As many as this number of file descriptors allows."""
        total = max(16, min(_MOST_CONNECTIONS, descriptors - _RESERVED_DESCRIPTORS))
        return cls(total, total // 2)


WANTED_DESCRIPTORS = _MOST_CONNECTIONS + _RESERVED_DESCRIPTORS

OPS_CONNECTIONS = ConnectionLimits(total=64, per_address=32, refusing=8, held_bytes=2**20)
"""Probes and scrapes: a handful, beside clients that found the wrong port."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    message: MessageLimits = field(default_factory=MessageLimits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    connections: ConnectionLimits = field(default_factory=ConnectionLimits)
