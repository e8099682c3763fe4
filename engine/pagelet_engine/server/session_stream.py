"""What a gateway has not taken of its session: updates of its requests, the engine's load and, if wished, KV events.

Owns how these become frames of a bounded size. Knows no gRPC: the writer takes the frames from here.
"""

import asyncio
from collections.abc import Iterable

from pagelet_api import inference_pb2 as pb

from pagelet_engine.server import pipe_pb2 as pipe
from pagelet_engine.server.streams import Drawer
from pagelet_engine.server.unread import Unread

LOAD_INTERVAL_S = 0.1
"""A session without news of its own hears of the engine's load this often at most."""

SIGN_OF_LIFE_S = 3.0
"""And with the next heartbeat after this long of a load that has not changed: well within the 10 s of silence after
which a gateway asks. Each frame wakes a dozen threads of gRPC on both sides, which an idle machine should be spared."""

MAX_FRAME_BYTES = 2**20
"""Of updates in a frame: after a stall, what waits leaves in pieces, so that neither end is busy with one for long."""

MAX_DRAWN = 64 * 1024
"""Drawn tokens in a frame, 44 bytes each while they wait. What comes beyond takes 4 bytes each in its request's
update, at ten times the work: good for a client that stalls, not for one that is a step behind."""

MAX_KV_BYTES = 4 * 2**20
"""KV events that a gateway may leave unread. Beyond, they are dropped, and a snapshot follows when it reads again."""

MAX_WAITING_UPDATES = 4096
"""With so many unread, no more commands are read: refusals cost no engine anything, so nothing else bounds them."""


class SessionStream:
    """`drawn`: the gateway reads tokens in the lean form, too."""

    def __init__(self, engine_epoch: int, kv_events: bool, drawn: bool = False) -> None:
        self.kv_events = kv_events
        self.unread_bytes = self.lag_bytes = 0
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._takes_drawn = drawn
        self._epoch = engine_epoch
        self._frame = pb.SessionFrame()
        self._updates: list[Unread] = []  # the frame's: copied into it once, when it goes
        self._latest: dict[str, Unread] = {}  # of these, each request's last
        self._drawn_by: list[int] = []  # the frame's as well: what comes before the updates
        self._drawn: list[int] = []
        self._awaits_snapshot = kv_events
        self._kv_dropped = False
        self._kv_bytes = 0
        self._load = pb.Load()
        self._told = pb.Load()
        self._load_due_s = self._sign_due_s = 0.0
        self._waits = False
        """The frame is to be taken."""
        self._lags = False
        """It was so already when the current step began."""
        self._closed = False

    @property
    def wants_snapshot(self) -> bool:
        """KV events were dropped, and the client reads again: only the whole cache can say what it holds."""
        return self._kv_dropped and not self._lags

    # ---- what comes in ---------------------------------------------------------------------------------------------

    def add(self, update: pb.RequestUpdate) -> None:
        self._release()
        earlier = self._latest.get(update.request_id)
        if earlier is None or earlier.update.finished:
            unread = self._latest[update.request_id] = Unread(update, update.ByteSize() if self._lags else 0)
            self._updates.append(unread)
            if len(self._updates) >= MAX_WAITING_UPDATES:
                self._room.clear()
            self.unread_bytes += unread.num_bytes
        else:
            self.unread_bytes += earlier.join(update)
            self.lag_bytes = max(self.lag_bytes, earlier.lag_bytes)

    def add_drawn(self, drawer: Drawer, token: int) -> None:
        # What follows an update that still waits joins it: in a frame, drawn tokens are the earlier ones.
        if not self._takes_drawn or drawer.request_id in self._latest or (self._lags and len(self._drawn) >= MAX_DRAWN):
            self.add(drawer.update(token))
            return
        self._drawn_by.append(drawer.number)
        self._drawn.append(token)
        self._waits = True

    def add_kv(self, step: pipe.StepFrame) -> None:
        """Queue the step's KV events, if they are wanted: none before a snapshot that is due, and that instead of
        them."""
        if not self.kv_events:
            return
        events = step.kv_events
        if self._awaits_snapshot:
            events = step.kv_snapshot
            if not events or self._kv_dropped:  # another gateway's: this one does not read yet
                return
            self._frame.kv_snapshot = True
            self._awaits_snapshot = False
        elif self._lags:
            self._kv_bytes += sum(event.ByteSize() for event in events)
            if self._kv_bytes > MAX_KV_BYTES:
                self._drop_kv()
                return
        if not events:
            return
        self._frame.kv_events.extend(events)
        self._frame.kv_sequence = step.kv_sequence
        self._release()

    def snapshot_asked(self) -> None:
        """The core has been asked for a snapshot: it comes with a later step."""
        self._kv_dropped = False

    def end_step(self, load: pb.Load, now_s: float, urgent: bool = False) -> None:
        """Nothing more of this step follows. The load goes with what waits; it makes a frame of its own when it is
        urgent, or when the client last heard of it long ago."""
        self._load = load
        due_s = self._load_due_s if load != self._told else self._sign_due_s
        if urgent or now_s >= due_s:
            self._load_due_s, self._sign_due_s = now_s + LOAD_INTERVAL_S, now_s + SIGN_OF_LIFE_S
            self._waits = True
        if self._waits:
            self._filled.set()
        self._lags = self._waits

    def unread(self) -> Iterable[Unread]:
        return self._updates

    def cut(self, unread: Unread, error: pb.RequestUpdate) -> None:
        self.unread_bytes -= unread.num_bytes
        unread.replace(error)
        self._count_lag()
        self._release()

    def close(self) -> None:
        """End the stream once what waits has been taken."""
        self._closed = True
        self._filled.set()

    # ---- what goes out ---------------------------------------------------------------------------------------------

    async def until_room(self) -> None:
        """Wait while the client has too many updates to read."""
        await self._room.wait()

    async def take(self) -> pb.SessionFrame | None:
        """The next frame: everything since the last one, or as much as a frame holds. None: the stream has ended."""
        await self._filled.wait()
        if not self._closed:
            self._filled.clear()
        elif not self._waits:
            return None
        frame, self._frame = self._frame, pb.SessionFrame()
        frame.updates.extend([unread.update for unread in self._take_updates()])
        if self._drawn:
            frame.drawn.samples.extend(self._drawn_by)
            frame.drawn.token_ids.extend(self._drawn)
            self._drawn_by.clear()
            self._drawn.clear()
        self._kv_bytes = 0
        self._told = self._load
        frame.step = self._load.step
        frame.engine_epoch = self._epoch
        frame.load.CopyFrom(self._load)
        frame.draining = self._load.draining
        self._waits = self._lags = bool(self._updates)
        if self._waits:
            self._filled.set()
        return frame

    def _take_updates(self) -> list[Unread]:
        """The oldest, at least one where there are some."""
        taken = self._updates
        if self.unread_bytes <= MAX_FRAME_BYTES:
            self._updates = []
            self._latest.clear()
            self.unread_bytes = 0
        else:
            count = num_bytes = 0
            while count < len(taken) and (not count or num_bytes + taken[count].num_bytes <= MAX_FRAME_BYTES):
                num_bytes += taken[count].num_bytes
                count += 1
            taken, self._updates = taken[:count], taken[count:]
            self.unread_bytes -= num_bytes
            for unread in taken:
                if self._latest.get(unread.update.request_id) is unread:
                    del self._latest[unread.update.request_id]
        self._count_lag()
        if len(self._updates) < MAX_WAITING_UPDATES:
            self._room.set()
        return taken

    def _count_lag(self) -> None:
        self.lag_bytes = max((unread.lag_bytes for unread in self._updates), default=0)

    def _drop_kv(self) -> None:
        self._frame = pb.SessionFrame()  # nothing else is in it before it goes
        self._kv_bytes = 0
        self._awaits_snapshot = self._kv_dropped = True

    def _release(self) -> None:
        self._waits = True
        self._filled.set()
