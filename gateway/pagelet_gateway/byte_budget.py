"""Memory that requests share: what each may hold, and what one client may hold of it all. Pure.

The sum of a gateway's budgets is what its memory is planned with.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager


class OverBudget(Exception):
    """There is no room for more now; the message has the numbers."""


class ByteBudget:
    """`held_bytes` never exceeds `limit_bytes`."""

    def __init__(self, limit_bytes: int, limit_per_client_bytes: float = math.inf) -> None:
        self.held_bytes = 0
        self._limit_bytes = limit_bytes
        self._limit_per_client_bytes = limit_per_client_bytes
        self._of_client: dict[str, int] = {}

    @contextmanager
    def hold(self, client: str) -> Iterator["Hold"]:
        """What one request holds; all of it is given back at the end."""
        held = Hold(self, client)
        try:
            yield held
        finally:
            self._add(client, -held.num_bytes)

    def _grow(self, client: str, num_bytes: int) -> None:
        if self.held_bytes + num_bytes > self._limit_bytes:
            raise OverBudget(f"{self.held_bytes} of {self._limit_bytes} bytes are in use")
        of_client = self._of_client.get(client, 0)
        if of_client + num_bytes > self._limit_per_client_bytes:
            raise OverBudget(f"this client's requests hold {of_client} bytes, at most {self._limit_per_client_bytes}")
        self._add(client, num_bytes)

    def _add(self, client: str, num_bytes: int) -> None:
        self.held_bytes += num_bytes
        of_client = self._of_client.get(client, 0) + num_bytes
        if of_client:
            self._of_client[client] = of_client
        else:
            self._of_client.pop(client, None)


class Hold:
    def __init__(self, budget: ByteBudget, client: str) -> None:
        self.num_bytes = 0
        self._budget = budget
        self._client = client

    def grow(self, num_bytes: int) -> None:
        """Raises OverBudget, and holds no more than before then."""
        self._budget._grow(self._client, num_bytes)
        self.num_bytes += num_bytes
