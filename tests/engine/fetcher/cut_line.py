"""A line to a server that breaks: it carries bytes both ways, and cuts each of the first connections after a while."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self


class CutLine:
    """`cuts`: after how many bytes from the server the first, second, … connection is cut; later ones live."""

    def __init__(self, port: int, cuts: list[int]) -> None:
        self._port, self._cuts = port, cuts
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            limit = self._cuts[self.connections] if self.connections < len(self._cuts) else None
            self.connections += 1
            server = socket.create_connection(("127.0.0.1", self._port))
            threading.Thread(target=_carry, args=(client, server, None), daemon=True).start()
            threading.Thread(target=_carry, args=(server, client, limit), daemon=True).start()


def _carry(source: socket.socket, destination: socket.socket, limit: int | None) -> None:
    carried = 0
    with suppress(OSError):
        while (data := source.recv(1 << 16)) and (limit is None or carried < limit):
            destination.sendall(data)
            carried += len(data)
    for end in (source, destination):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
