"""Addresses of this machine for pods: every one its own loopback address, so that all can use the same ports.

Owns the question whether a port is free; it asks the operating system by binding to it.
"""

import errno
import socket
from collections.abc import Iterable, Iterator, Sequence

_LAST = 254


class AddressError(Exception):
    """No address can be had; the message says what stands in the way and what to do."""


class LoopbackAddresses:
    """Hands out 127.0.0.2, 127.0.0.3, … to pods, leaving out those on which another program has taken a port.

    An address stays reserved until `close` or the end of this process, so that two services that start at the same
    moment never get the same one: the pods listen only later. The reservation is a UDP socket on the same port, which
    is in nobody's way and needs no file that could be left behind.
    """

    def __init__(self) -> None:
        self._candidates: Iterator[str] = (f"127.0.0.{last}" for last in range(2, _LAST + 1))
        self._reservations: list[socket.socket] = []

    def free(self, ports: Sequence[int]) -> str:
        """The next address on which all `ports` are free. Raises AddressError."""
        for address in self._candidates:
            if self._reserve(address, ports) and not taken_ports(address, ports):
                return address
        raise AddressError(f"no address in 127.0.0.2 to 127.0.0.{_LAST} has ports {', '.join(map(str, ports))} free")

    def close(self) -> None:
        for reservation in self._reservations:
            reservation.close()

    def _reserve(self, address: str, ports: Sequence[int]) -> bool:
        reservation = socket.socket(type=socket.SOCK_DGRAM)
        try:
            reservation.bind((address, ports[0] if ports else 0))
        except OSError as error:
            reservation.close()
            # An address that does not exist is told apart where the ports are asked about.
            return error.errno == errno.EADDRNOTAVAIL
        self._reservations.append(reservation)
        return True


def taken_ports(address: str, ports: Iterable[int]) -> list[int]:
    """Those of `ports` on which nothing more can listen at `address`. Raises AddressError."""
    return [port for port in ports if not _is_free(address, port)]


def free_port(address: str, first: int) -> int:
    """The first free port at or after `first`. Raises AddressError."""
    for port in range(first, 2**16):
        if _is_free(address, port):
            return port
    raise AddressError(f"no port from {first} on is free on {address}")


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a connection that lingers after its server's end is no reason to refuse the next server.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except PermissionError as error:
            raise AddressError(f"port {port} needs privileges; choose one from 1024 on") from error
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise AddressError(
                    f"this machine has no address {address}; on macOS: sudo ifconfig lo0 alias {address}"
                ) from error
            return False
    return True
