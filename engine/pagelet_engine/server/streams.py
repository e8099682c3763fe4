"""What each client has not taken yet: one growing message a stream, so that a slow client costs memory up to a bound,
and nobody else's time.

A client that keeps up gets a message a step. One that lags finds the missed steps merged into its next message, still
one update a request and one entry a sample; one that lags beyond the bound is cut. Knows no gRPC: whoever writes takes
the messages from here.
"""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from pagelet_api import inference_pb2 as pb

from pagelet_engine.server import pipe_pb2 as pipe

MAX_BACKLOG_BYTES = 4 * 2**20
"""Hours of one request's tokens; minutes of a gateway's with 64 of them."""

LOAD_INTERVAL_S = 0.1
"""A session without news of its own hears of the engine's load this often at most."""

SIGN_OF_LIFE_S = 3.0
"""And with the next heartbeat after this long of a load that has not changed: well within the 10 s of silence after
which a gateway asks. Each frame wakes a dozen threads of gRPC on both sides, which an idle machine should be spared."""


DRAWN_BYTES = 8
"""Of one drawn token in a frame, about."""


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

    def add(self, update: pb.RequestUpdate) -> None:
        """Queue the update; never waits."""
        ...

    def add_drawn(self, drawer: Drawer, token: int) -> None:
        """Queue one more token of a sample that has been named in an update before."""
        ...


class Backlog:
    """Wakes the writer, and says when its client has lagged too far."""

    def __init__(self, max_bytes: int) -> None:
        self.cut = asyncio.Event()
        """Set once, when the stream is lost: its writer gives up, its requests are to be aborted."""
        self._filled = asyncio.Event()
        self._max_bytes = max_bytes
        self._lagging_bytes = 0

    @property
    def reason(self) -> str:
        """Why a stream that was cut was cut."""
        return (
            f"this stream is cut and its requests are aborted: its client left {self._lagging_bytes} bytes unread, "
            f"at most {self._max_bytes} are kept; read faster, or ask for less at once"
        )

    def lag(self, more_bytes: int) -> None:
        """This much joins a message that its client should have taken by now."""
        self._lagging_bytes += more_bytes
        if self._lagging_bytes > self._max_bytes:
            self.cut.set()

    def wake(self) -> None:
        self._filled.set()

    async def filled(self) -> None:
        """Wait until there is something to take; what lags counts from zero then."""
        await self._filled.wait()
        self._filled.clear()
        self._lagging_bytes = 0


class GenerateStream:
    """The updates of one request."""

    def __init__(self, max_backlog_bytes: int) -> None:
        self.backlog = Backlog(max_backlog_bytes)
        self._waiting: pb.RequestUpdate | None = None

    def add(self, update: pb.RequestUpdate) -> None:
        if self.backlog.cut.is_set():
            return
        if self._waiting is None:
            self._waiting = update
            self.backlog.wake()
        else:
            self.backlog.lag(update.ByteSize())
            _merge(update, self._waiting)

    def add_drawn(self, drawer: Drawer, token: int) -> None:
        self.add(drawer.update(token))

    async def take(self) -> pb.RequestUpdate:
        """The next update: everything since the last one."""
        await self.backlog.filled()
        assert self._waiting is not None, "woken without an update"
        update, self._waiting = self._waiting, None
        return update


class SessionStream:
    """The updates of one gateway's requests, with the engine's load and, if wished, its KV events.

    `drawn`: the gateway reads tokens in the lean form, too.
    """

    def __init__(self, engine_epoch: int, kv_events: bool, max_backlog_bytes: int, drawn: bool = False) -> None:
        self.backlog = Backlog(max_backlog_bytes)
        self.kv_events = kv_events
        self._awaits_snapshot = kv_events
        self._takes_drawn = drawn
        self._epoch = engine_epoch
        self._frame = pb.SessionFrame()
        self._updates: list[pb.RequestUpdate] = []  # the frame's: copied into it once, when it goes
        self._latest: dict[str, pb.RequestUpdate] = {}  # of these, each request's last
        self._drawn_by: list[int] = []  # the frame's as well: what comes before the updates
        self._drawn: list[int] = []
        self._load = pb.Load()
        self._told = pb.Load()
        self._load_due_s = self._sign_due_s = 0.0
        self._waits = False
        """The frame is to be taken."""
        self._lags = False
        """It was so already when the current step began."""
        self._closed = False

    def add(self, update: pb.RequestUpdate) -> None:
        if self.backlog.cut.is_set():
            return
        if self._lags:
            self.backlog.lag(update.ByteSize())
        earlier = self._latest.get(update.request_id)
        if earlier is not None and not earlier.finished:
            _merge(update, earlier)
        else:
            self._latest[update.request_id] = update
            self._updates.append(update)
        self._release()

    def add_drawn(self, drawer: Drawer, token: int) -> None:
        # What follows an update that still waits joins it: in a frame, drawn tokens are the earlier ones.
        if not self._takes_drawn or drawer.request_id in self._latest:
            self.add(drawer.update(token))
            return
        if self._lags:
            if self.backlog.cut.is_set():
                return
            self.backlog.lag(DRAWN_BYTES)
        self._drawn_by.append(drawer.number)
        self._drawn.append(token)
        self._waits = True

    def add_kv(self, step: pipe.StepFrame) -> None:
        """Queue the step's KV events, if they are wanted: none before the first snapshot, and that instead of them."""
        if not self.kv_events or self.backlog.cut.is_set():
            return
        events = step.kv_events
        if self._awaits_snapshot:
            events = step.kv_snapshot
            self._frame.kv_snapshot = bool(events)
            self._awaits_snapshot = not events
        if not events:
            return
        if self._lags:
            self.backlog.lag(sum(event.ByteSize() for event in events))
        self._frame.kv_events.extend(events)
        self._frame.kv_sequence = step.kv_sequence
        self._release()

    def end_step(self, load: pb.Load, now_s: float, urgent: bool = False) -> None:
        """Nothing more of this step follows. The load goes with what waits; it makes a frame of its own when it is
        urgent, or when the client last heard of it long ago."""
        self._load = load
        due_s = self._load_due_s if load != self._told else self._sign_due_s
        if urgent or now_s >= due_s:
            self._load_due_s, self._sign_due_s = now_s + LOAD_INTERVAL_S, now_s + SIGN_OF_LIFE_S
            self._waits = True
        if self._waits:
            self.backlog.wake()
        self._lags = self._waits

    def close(self) -> None:
        """End the stream once what waits has been taken."""
        self._closed = True
        self.backlog.wake()

    async def take(self) -> pb.SessionFrame | None:
        """The next frame: everything since the last one. None: the stream has ended."""
        await self.backlog.filled()
        if self._closed:
            self.backlog.wake()
            if not self._waits:
                return None
        frame, self._frame = self._frame, pb.SessionFrame()
        frame.updates.extend(self._updates)
        self._updates.clear()
        self._latest.clear()
        if self._drawn:
            frame.drawn.samples.extend(self._drawn_by)
            frame.drawn.token_ids.extend(self._drawn)
            self._drawn_by.clear()
            self._drawn.clear()
        self._told = self._load
        frame.step = self._load.step
        frame.engine_epoch = self._epoch
        frame.load.CopyFrom(self._load)
        frame.draining = self._load.draining
        self._waits = self._lags = False
        return frame

    def _release(self) -> None:
        self._waits = True
        self.backlog.wake()


def _merge(update: pb.RequestUpdate, into: pb.RequestUpdate) -> None:
    """Join what follows to what came before, both of one request."""
    entries = {sample.index: sample for sample in into.samples}
    for sample in update.samples:
        if earlier := entries.get(sample.index):
            earlier.MergeFrom(sample)
        else:
            into.samples.append(sample)
    update.ClearField("samples")
    into.MergeFrom(update)
