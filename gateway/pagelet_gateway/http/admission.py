"""Which connections a port takes, and which it gives up for them. Counts; closes nothing and waits for nothing."""

import ipaddress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pagelet_gateway.http.limits import ConnectionLimits

C = TypeVar("C")

PORT_FULL = "too_many_connections"
ADDRESS_FULL = "too_many_connections_of_address"


@dataclass(frozen=True, slots=True)
class Admission(Generic[C]):
    refused: str | None = None
    """Why it is not taken."""
    evicted: C | None = None
    """A connection to close at once: its place is given away."""


@dataclass(slots=True)
class _Client(Generic[C]):
    connections: int = 0
    waiting: dict[C, None] = field(default_factory=dict)
    """For this client to send; longest first."""


class ConnectionTable(Generic[C]):
    """The connections of one port, by their clients' addresses."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._clients: dict[str, _Client[C]] = {}
        self._address: dict[C, str] = {}
        self._waiting: dict[C, None] = {}
        """For any client to send; longest first."""
        self._held: dict[C, int] = {}
        self.held_bytes = 0

    def __len__(self) -> int:
        return len(self._address)

    def open(self, connection: C, address: str) -> Admission[C]:
        """A new connection, which waits for its client. Where a limit is reached, room is made by the one of those that
        count towards it whose client has owed us bytes the longest: half-open connections lock no client out."""
        client = self._clients.get(address) or _Client[C]()
        evicted: C | None = None
        if client.connections >= self._limits.per_address:
            evicted = next(iter(client.waiting), None)
            refused = ADDRESS_FULL
        elif len(self._address) >= self._limits.total:
            evicted = next(iter(self._waiting), None)
            refused = PORT_FULL
        else:
            refused = None
        if refused is not None and evicted is None:
            return Admission(refused=refused)
        if evicted is not None:
            self.close(evicted)
        client = self._clients.setdefault(address, client)
        client.connections += 1
        self._address[connection] = address
        self.wait(connection)
        return Admission(evicted=evicted)

    def wait(self, connection: C) -> None:
        """From now on it is the client's turn to send: a request, or the rest of one."""
        self.answer(connection)
        if (address := self._address.get(connection)) is not None:
            self._waiting[connection] = self._clients[address].waiting[connection] = None

    def answer(self, connection: C) -> None:
        """From now on it is our turn."""
        if (address := self._address.get(connection)) is not None:
            self._waiting.pop(connection, None)
            self._clients[address].waiting.pop(connection, None)

    def hold(self, connection: C, held_bytes: int) -> C | None:
        """Note how many bytes wait in this connection. Returns the one that holds the most, to be closed, where all
        together are beyond the bound."""
        self.held_bytes += held_bytes - self._held.pop(connection, 0)
        if held_bytes:
            self._held[connection] = held_bytes
        if self.held_bytes <= self._limits.held_bytes:
            return None
        return max(self._held, key=self._held.__getitem__)

    def close(self, connection: C) -> None:
        """May be called again."""
        self.hold(connection, 0)
        self.answer(connection)
        if (address := self._address.pop(connection, None)) is not None:
            client = self._clients[address]
            client.connections -= 1
            if not client.connections:
                del self._clients[address]


def client_key(address: str) -> str:
    """What counts as one client: an IPv4 address, or the network of an IPv6 one, of which one machine has 2^64."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
