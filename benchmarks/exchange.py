"""HTTP requests sent at once over plain sockets, and the bytes of their answers, each piece with the time it came.

On one machine the client shares the cores with the server that it measures, so it does next to nothing while it
measures: one loop, one `recv` a piece, one look at the clock. Nothing is parsed before the last answer has ended.
Refuses to know what the bytes mean.
"""

import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

SILENCE_LIMIT_S = 900
"""No server may be silent to everybody for longer."""
_RECEIVE_BYTES = 1 << 18


class ExchangeFailed(Exception):
    """The server cannot be reached, hung up, or fell silent."""


@dataclass(slots=True)
class Exchange:
    """One request's bytes; times are `time.perf_counter()`."""

    request: bytes
    sent_s: float = 0.0
    """When its connection was asked for."""
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    """What came, in order, up to the server's hanging up."""


def exchange(url: str, requests: Sequence[bytes]) -> list[Exchange]:
    """Send all requests at once, each over a connection of its own, until the server has closed every one.

    A request says `Connection: close`. Raises ExchangeFailed.
    """
    address = _address(url)
    exchanges = [Exchange(request) for request in requests]
    with selectors.DefaultSelector() as selector:
        try:
            for one in exchanges:
                connection = socket.socket()
                selector.register(connection, selectors.EVENT_READ, one)
                one.sent_s = time.perf_counter()
                connection.connect(address)
                connection.sendall(one.request)
                connection.setblocking(False)
            _receive(selector)
        except OSError as error:
            raise ExchangeFailed(f"{url}: {error.strerror or error}") from error
        finally:
            for key in list(selector.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]
    return exchanges


def _receive(selector: selectors.BaseSelector) -> None:
    while selector.get_map():
        ready = selector.select(SILENCE_LIMIT_S)
        if not ready:
            raise ExchangeFailed(f"{len(selector.get_map())} answers, and nothing more of them for {SILENCE_LIMIT_S} s")
        for key, _ in ready:
            piece = key.fileobj.recv(_RECEIVE_BYTES)  # type: ignore[union-attr]
            if piece:
                key.data.pieces.append((time.perf_counter(), piece))
            else:
                selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ExchangeFailed(f"wanted a URL such as http://127.0.0.1:8000, found {url!r}")
    return parts.hostname, parts.port or 80
