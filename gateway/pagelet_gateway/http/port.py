"""What the connections of one listener share: the application, the bounds, the tasks that answer, the count.

Knows no bytes.
"""

import asyncio
from collections.abc import Hashable
from typing import Any, Generic, Protocol, TypeVar, cast

from starlette.types import ASGIApp

from pagelet_gateway.http.admission import ConnectionTable
from pagelet_gateway.http.cycle import Cycle
from pagelet_gateway.http.limits import HttpLimits

C = TypeVar("C", bound=Hashable)


class ConnectionMetrics(Protocol):
    def open_connections(self, count: int) -> None: ...

    def refused_connections(self, reason: str) -> None:
        """`reason`: an error's code, of which there are few."""
        ...


class Port(Generic[C]):
    def __init__(self, app: ASGIApp, limits: HttpLimits, metrics: ConnectionMetrics) -> None:
        self._app = app
        self.limits = limits
        self.metrics = metrics
        self.table = ConnectionTable[C](limits.connections)
        self.connections: set[C] = set()
        """Also those that are refused, until they are closed."""
        self.empty = asyncio.Event()
        """Set while there is no connection."""
        self.empty.set()
        self.tasks: set[asyncio.Task[None]] = set()

    @property
    def refusing(self) -> int:
        """How many connections are open beyond those that were taken."""
        return len(self.connections) - len(self.table)

    def add(self, connection: C) -> None:
        self.connections.add(connection)
        self.empty.clear()
        self.metrics.open_connections(len(self.connections))

    def remove(self, connection: C) -> None:
        self.table.close(connection)
        self.connections.discard(connection)
        self.metrics.open_connections(len(self.connections))
        if not self.connections:
            self.empty.set()

    def start(self, cycle: Cycle) -> None:
        """Let the application answer."""
        task = asyncio.get_running_loop().create_task(cycle.run_asgi(cast(Any, self._app)))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
