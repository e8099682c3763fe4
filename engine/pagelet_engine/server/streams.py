"""Where the updates of requests wait for their client, so that a slow client costs memory and no other client's time.

A client that keeps up gets a message a step. One that lags finds the missed steps merged into its next message, still
one update a request and one entry a sample. How much may wait is decided in in_flight.py, which ends a request that has
too much; what waits of a Session is in session_stream.py. Knows no gRPC: the writer takes the messages from here.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from pagelet_api import inference_pb2 as pb

from pagelet_engine.server.unread import Unread


@dataclass(frozen=True, slots=True)
class Drawer:
    """A sample whose tokens may come as drawn ones."""

    number: int
    """What the core calls it."""
    request_id: str
    index: int

    def update(self, token: int) -> pb.RequestUpdate:
        """The same in the general form."""
        sample = pb.SampleUpdate(index=self.index, token_ids=(token,))
        return pb.RequestUpdate(request_id=self.request_id, samples=(sample,))


class Stream(Protocol):
    """Where the updates of a client's requests go."""

    @property
    def unread_bytes(self) -> int:
        """Of the updates that its client should have taken, all requests together."""
        ...

    @property
    def lag_bytes(self) -> int:
        """Of these, by which the client lags behind in one request: in the one with most."""
        ...

    def add(self, update: pb.RequestUpdate) -> None:
        """Queue the update; never waits."""
        ...

    def add_drawn(self, drawer: Drawer, token: int) -> None:
        """Queue one more token of a sample that has been named in an update before."""
        ...

    def unread(self) -> Iterable[Unread]:
        """What waits, by request."""
        ...

    def cut(self, unread: Unread, error: pb.RequestUpdate) -> None:
        """Drop what waits of a request and say this instead."""
        ...


class GenerateStream:
    """The updates of one request."""

    def __init__(self) -> None:
        self._filled = asyncio.Event()
        self._unread: Unread | None = None

    @property
    def unread_bytes(self) -> int:
        return self._unread.num_bytes if self._unread else 0

    @property
    def lag_bytes(self) -> int:
        return self._unread.lag_bytes if self._unread else 0

    def add(self, update: pb.RequestUpdate) -> None:
        if self._unread is None:
            self._unread = Unread(update, 0)
            self._filled.set()
        else:
            self._unread.join(update)

    def add_drawn(self, drawer: Drawer, token: int) -> None:
        self.add(drawer.update(token))

    def unread(self) -> Iterable[Unread]:
        return () if self._unread is None else (self._unread,)

    def cut(self, unread: Unread, error: pb.RequestUpdate) -> None:
        unread.replace(error)

    async def take(self) -> pb.RequestUpdate:
        """The next update: everything since the last one."""
        await self._filled.wait()
        self._filled.clear()
        assert self._unread is not None, "woken without an update"
        update, self._unread = self._unread.update, None
        return update
