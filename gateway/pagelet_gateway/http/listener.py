"""Sockets that listen, and the file descriptors that their connections need."""

import contextlib
import resource
import socket
from dataclasses import dataclass

from pagelet_gateway.http.limits import WANTED_DESCRIPTORS

BACKLOG = 2048
_STALLED_CLIENT_MS = 60_000


class ListenError(Exception):
    """A port that cannot be had."""


@dataclass(frozen=True, slots=True)
class Listeners:
    http: socket.socket
    ops: socket.socket


def listen(address: str, port: int) -> socket.socket:
    """A listening socket. Raises ListenError with the one line to show."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit both. A token must not wait until the one before is acknowledged (asyncio sees to that
        # only for sockets that name their protocol), and a client that acknowledges nothing is closed in the end.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STALLED_CLIENT_MS)
        listener.bind((address, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ListenError(f"cannot listen on {address}:{port}: {error.strerror}; free it, or choose another") from error
    return listener


def claim_descriptors() -> int:
    """Raise this process's soft limit as far as connections can use it; returns how many files it may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < WANTED_DESCRIPTORS:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(WANTED_DESCRIPTORS, hard), hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
