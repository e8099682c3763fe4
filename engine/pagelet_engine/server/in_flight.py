"""Which stream each request belongs to, from its arrival until the core has said its last word about it.

Owns the table and the way of a step's updates through it, and the bounds on what clients leave unread. A request whose
client has gone stays in the table, without a stream, until the core has let go of it: its id cannot be taken meanwhile.
Knows no gRPC and no sockets.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from pagelet_api import inference_pb2 as pb

from pagelet_engine.server import pipe_pb2 as pipe
from pagelet_engine.server.bounds import Bounds, holding_most, lagging
from pagelet_engine.server.measures import Measures
from pagelet_engine.server.refusal import Code, refusal
from pagelet_engine.server.session_stream import SessionStream
from pagelet_engine.server.streams import Drawer, Stream
from pagelet_engine.server.unread import Unread


class Link(Protocol):
    """The way to the core."""

    @property
    def is_full(self) -> bool:
        """The core is so far behind that nothing should be added."""
        ...

    def send(self, command: pipe.Command) -> None: ...


@dataclass(slots=True)
class _Entry:
    stream: Stream | None
    """None: the client has gone."""
    arrived_s: float
    last_token_s: float = 0.0
    """0: no token yet."""
    finish_reason: pb.FinishReason = pb.FINISH_REASON_UNSPECIFIED
    drawers: list[Drawer] = field(default_factory=list)
    """Its samples, as far as the core has named them."""


class InFlight:
    """`load` is the engine's as of the last step; times are `clock_s`'s, which is the core's too."""

    def __init__(self, link: Link, measures: Measures, clock_s: Callable[[], float], bounds: Bounds) -> None:
        self.load = pb.Load()
        self._bounds = bounds
        self._link = link
        self._measures = measures
        self._clock_s = clock_s
        self._entries: dict[str, _Entry] = {}
        self._drawers: dict[int, tuple[_Entry, Drawer]] = {}  # by the core's number
        self._ids: dict[Stream, set[str]] = {}  # what each open stream has in flight
        self._sessions: list[SessionStream] = []
        self._emptied = asyncio.Event()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def num_sessions(self) -> int:
        return len(self._sessions)

    async def wait_until_empty(self) -> None:
        while self._entries:
            self._emptied.clear()
            await self._emptied.wait()

    # ---- requests come and go --------------------------------------------------------------------------------------

    def submit(self, request: pb.GenerateRequest, stream: Stream) -> None:
        """Send a validated request to the core. Its updates go to the stream: one refusal, or the way to its end."""
        ids = self._ids.setdefault(stream, set())
        if refused := self._refuse(request.request_id):
            stream.add(refused)
            return
        arrived_s = self._clock_s()
        self._entries[request.request_id] = _Entry(stream, arrived_s)
        ids.add(request.request_id)
        self._link.send(pipe.Command(submit=pipe.Submit(request=request, arrived_s=arrived_s)))

    def abort(self, abort: pb.Abort, stream: Stream) -> None:
        """Abort a request of this stream, or some of its samples; anybody else's is left alone."""
        if abort.request_id in self._ids.get(stream, ()):
            self._link.send(pipe.Command(abort=abort))

    def close(self, stream: Stream) -> None:
        """The client has gone: abort what it had in flight."""
        for request_id in self._ids.pop(stream, ()):
            self._abandon(request_id)

    # ---- sessions --------------------------------------------------------------------------------------------------

    def open_session(self, session: SessionStream) -> None:
        """Let a session hear of every step from now on, the cache's present content first if it wants KV events."""
        self._sessions.append(session)
        self._ids[session] = set()
        session.end_step(self.load, self._clock_s(), urgent=True)
        if session.kv_events:
            self._link.send(pipe.Command(listen_kv=pipe.ListenKv(on=True)))

    def close_session(self, session: SessionStream) -> None:
        """The gateway has gone."""
        self.close(session)
        self._sessions.remove(session)
        if session.kv_events and not any(other.kv_events for other in self._sessions):
            self._link.send(pipe.Command(listen_kv=pipe.ListenKv(on=False)))

    # ---- one step --------------------------------------------------------------------------------------------------

    def begin(self, load: pb.Load) -> None:
        """The engine is ready; this is its load before the first step."""
        load.draining = self.load.draining
        self.load = load

    def deliver(self, step: pipe.StepFrame) -> None:
        """Bring each update to its stream, and count what happened."""
        now_s = self._clock_s()
        tokens_since: dict[float, int] = {}  # time of the last tokens before → tokens now: one step has few of them
        if step.HasField("drawn"):
            self._deliver_drawn(step.drawn, now_s, tokens_since)
        for update in step.updates:
            if entry := self._entries.get(update.request_id):
                self._name(update, entry)
                self._measure(update, entry, now_s, tokens_since)
                finished = update.finished
                if entry.stream is not None:
                    entry.stream.add(update)
                if finished:
                    self._forget(update.request_id, entry)
        for since_s, tokens in tokens_since.items():
            self._measures.inter_token.observe(now_s - since_s, tokens)
        for wait_s in step.waits_s:
            self._measures.queue_time.observe(wait_s)
        if step.tokens:
            self._measures.iteration_tokens.observe(step.tokens)
        step.load.draining = self.load.draining
        self.load = step.load
        self._end_unread()
        for session in self._sessions:
            session.add_kv(step)
            if session.wants_snapshot:
                session.snapshot_asked()
                self._link.send(pipe.Command(listen_kv=pipe.ListenKv(on=True)))
            session.end_step(self.load, now_s)

    def _end_unread(self) -> None:
        """End requests of which their clients leave too much unread."""
        for stream in self._ids:
            if stream.lag_bytes > self._bounds.max_lag_bytes:
                for unread, sentence in lagging(stream, self._bounds):
                    self._cut(stream, unread, sentence)
        for stream, unread, sentence in holding_most(self._ids, self._bounds):
            self._cut(stream, unread, sentence)

    def _deliver_drawn(self, drawn: pb.Drawn, now_s: float, tokens_since: dict[float, int]) -> None:
        for number, token in zip(drawn.samples, drawn.token_ids, strict=True):
            known = self._drawers.get(number)
            if known is None:
                continue  # ended by us, and the core has not heard of it yet
            entry, drawer = known
            since_s, entry.last_token_s = entry.last_token_s, now_s
            tokens_since[since_s] = tokens_since.get(since_s, 0) + 1
            if entry.stream is not None:
                entry.stream.add_drawn(drawer, token)
        self._measures.generation_tokens += sum(tokens_since.values())

    def _name(self, update: pb.RequestUpdate, entry: _Entry) -> None:
        for sample in update.samples:
            if sample.HasField("number"):
                drawer = Drawer(sample.number, update.request_id, sample.index)
                entry.drawers.append(drawer)
                self._drawers[sample.number] = entry, drawer

    def drain(self) -> None:
        """Admit nothing from now on, and tell every session before anything else."""
        self.load.draining = True
        for session in self._sessions:
            session.end_step(self.load, self._clock_s(), urgent=True)

    def end(self, code: Code, sentence: str) -> int:
        """Refuse what is still in flight and close every session; returns how many requests that cut short."""
        cut_short = 0
        for request_id, entry in self._entries.items():
            if entry.stream is not None:
                entry.stream.add(refusal(request_id, code, sentence))
                cut_short += 1
        self._entries.clear()
        self._drawers.clear()
        for ids in self._ids.values():
            ids.clear()
        self._emptied.set()
        for session in self._sessions:
            session.close()
        return cut_short

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _abandon(self, request_id: str) -> None:
        """Its client hears no more of it."""
        self._entries[request_id].stream = None
        self._link.send(pipe.Command(abort=pb.Abort(request_id=request_id)))

    def _cut(self, stream: Stream, unread: Unread, sentence: str) -> None:
        request_id, finished = unread.update.request_id, unread.update.finished
        stream.cut(unread, refusal(request_id, Code.RESOURCE_EXHAUSTED, sentence))
        if not finished and request_id in self._ids[stream]:
            self._ids[stream].remove(request_id)
            self._abandon(request_id)

    def _refuse(self, request_id: str) -> pb.RequestUpdate | None:
        if self.load.draining:
            return refusal(request_id, Code.UNAVAILABLE, "this engine is draining and takes nothing new: ask another")
        if request_id in self._entries:
            sentence = f"request_id {request_id!r} is in flight on this engine: choose another"
            return refusal(request_id, Code.ALREADY_EXISTS, sentence)
        if self._link.is_full or len(self._entries) >= self._bounds.max_requests:
            sentence = f"{len(self._entries)} earlier requests run or wait for the engine's core: try later"
            return refusal(request_id, Code.RESOURCE_EXHAUSTED, sentence)
        return None

    def _forget(self, request_id: str, entry: _Entry) -> None:
        del self._entries[request_id]
        for drawer in entry.drawers:
            del self._drawers[drawer.number]
        if entry.stream is not None:
            self._ids[entry.stream].discard(request_id)
        if not self._entries:
            self._emptied.set()

    def _measure(self, update: pb.RequestUpdate, entry: _Entry, now_s: float, tokens_since: dict[float, int]) -> None:
        measures = self._measures
        drawn = 0
        for sample in update.samples:
            drawn += len(sample.token_ids)
            entry.finish_reason = sample.finish_reason or entry.finish_reason
        if drawn:
            measures.generation_tokens += drawn
            if entry.last_token_s:
                tokens_since[entry.last_token_s] = tokens_since.get(entry.last_token_s, 0) + drawn
            else:
                measures.time_to_first_token.observe(now_s - entry.arrived_s)
            entry.last_token_s = now_s
        if update.error.code == Code.INTERNAL:
            measures.broken_requests += 1
        if update.HasField("prompt"):
            measures.prompt_tokens += update.prompt.tokens
        if update.finished and not update.HasField("error"):
            measures.finished(entry.finish_reason, now_s - entry.arrived_s)
