"""One engine: its channel, its Session stream, and the requests in flight on it.

Owns connecting, reconnecting with back-off, and the reader that hands each update to its request's inbox without ever
waiting. Knows no HTTP and no text.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from pagelet_api import inference_pb2 as pb
from pagelet_api.inference_pb2_grpc import EngineStub

from pagelet_gateway.failure import EngineFailure, failure_of, lost
from pagelet_gateway.inbox import Inbox
from pagelet_gateway.model import Files, ModelFilesError, Models, ServedModel

_log = logging.getLogger(__name__)

_CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", 256 * 2**20),  # prompt logprobs of a long prompt
    ("grpc.max_send_message_length", 64 * 2**20),
    ("grpc.use_local_subchannel_pool", 1),  # a reconnect of ours must not inherit another's back-off
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.enable_http_proxy", 0),  # nothing leaves the site
]


@dataclass(frozen=True, slots=True)
class LinkTiming:
    """Seconds."""

    rpc_s: float = 5.0
    tokenizer_s: float = 60.0
    silence_s: float = 10.0
    """After this long without a frame the engine is asked for its load, and dropped when it does not answer in rpc_s:
    one that vanishes without a word, with its machine, is given up after the sum of both."""
    backoff_first_s: float = 0.2
    backoff_most_s: float = 3.0


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request in flight: where its updates go, under which key."""

    inbox: Inbox
    key: int
    numbers: list[int] = field(default_factory=list)
    """Its samples', as the engine calls them where it has only a token to tell."""


class EngineLink:
    def __init__(self, address: str, gateway: str, models: Models, changed: Callable[[], None], timing: LinkTiming):
        """`changed` is called whenever `usable` may have changed."""
        self.address = address
        self.listed = True
        self.last_used = 0
        self.model: ServedModel | None = None
        self.load = pb.Load()
        self._mine_at_load = 0
        self._gateway = gateway
        self._models = models
        self._changed = changed
        self._timing = timing
        self._draining = False
        self._open = False
        self._requests: dict[str, _Asked] = {}
        self._drawers: dict[int, tuple[_Asked, int]] = {}
        """By the engine's number: whose sample it is, and which."""
        self._commands: asyncio.Queue[pb.SessionCommand] = asyncio.Queue()
        self._last_frame_s = 0.0
        self._reported = ""

    @property
    def usable(self) -> bool:
        return self._open and not self._draining

    @property
    def connected(self) -> bool:
        return self._open

    @property
    def in_flight(self) -> int:
        return len(self._requests)

    @property
    def others(self) -> int:
        """Requests on the engine that are not this gateway's."""
        return max(0, self.load.running + self.load.waiting - self._mine_at_load)

    def submit(self, request: pb.GenerateRequest, inbox: Inbox, key: int) -> None:
        """Send a request; its updates, or its failure, will go to the inbox."""
        assert request.request_id not in self._requests, "request ids are ours and unique"
        self._requests[request.request_id] = _Asked(inbox, key)
        self._commands.put_nowait(pb.SessionCommand(generate=request))

    def abort(self, request_id: str, samples: Sequence[int] = ()) -> None:
        """Stop the request, or some of its samples; whatever still comes of a whole request is dropped."""
        if request_id not in self._requests:
            return
        if not samples:
            self._forget(request_id)
        self._commands.put_nowait(pb.SessionCommand(abort=pb.Abort(request_id=request_id, samples=samples)))

    async def run(self) -> None:
        """Stay connected until cancelled."""
        delay_s = self._timing.backoff_first_s
        while True:
            try:
                async with grpc.aio.insecure_channel(self.address, options=_CHANNEL_OPTIONS) as channel:
                    await self._session(EngineStub(channel))  # type: ignore[no-untyped-call]
                reason = "it closed the session"
            except grpc.aio.AioRpcError as error:
                reason = f"{error.code().name}: {error.details()}"
            except (ModelFilesError, TimeoutError, asyncio.InvalidStateError) as error:
                reason = str(error) or "it did not answer in time"
            except Exception:
                _log.exception("engine %s: the session ended by a fault of this gateway", self.address)
                reason = "a fault of this gateway"
            finally:
                was_open = self._close()
            self._report(f"engine {self.address} is not connected: {reason}")
            delay_s = self._timing.backoff_first_s if was_open else min(2 * delay_s, self._timing.backoff_most_s)
            await asyncio.sleep(delay_s * random.uniform(0.8, 1.2))

    async def _session(self, stub: EngineStub) -> None:
        info = await stub.GetModelInfo(pb.GetModelInfoRequest(), timeout=self._timing.rpc_s)
        self.model = await self._models.get(info, lambda: self._fetch(stub))
        session = stub.Session()
        await session.write(pb.SessionCommand(hello=pb.SessionHello(gateway=self._gateway, drawn=True)))
        async with asyncio.timeout(self._timing.rpc_s):  # an engine sends its load at once
            frame = await session.read()
        await _first_to_end(self._read(session, frame), self._write(session), self._watch(stub))

    async def _fetch(self, stub: EngineStub) -> Files:
        files: dict[str, bytearray] = {}
        async for chunk in stub.GetTokenizer(pb.GetTokenizerRequest(), timeout=self._timing.tokenizer_s):
            file = files.setdefault(chunk.name, bytearray())
            if len(file) != chunk.offset:
                raise ModelFilesError(f"GetTokenizer sent {chunk.name} with a gap at byte {len(file)}")
            file += chunk.data
        return {name: bytes(data) for name, data in files.items()}

    def _deliver(self, frame: pb.SessionFrame) -> None:
        """Hand out one frame. Synchronous: no request can make another wait."""
        now_s = self._last_frame_s = asyncio.get_running_loop().time()
        for number, token in zip(frame.drawn.samples, frame.drawn.token_ids, strict=True):
            if drawer := self._drawers.get(number):  # else it was aborted meanwhile
                asked, index = drawer
                asked.inbox.push_drawn(asked.key, index, token, now_s)
        for update in frame.updates:
            found = self._requests.get(update.request_id)
            if found is None:
                continue  # aborted meanwhile
            for sample in update.samples:
                if sample.HasField("number"):
                    found.numbers.append(sample.number)
                    self._drawers[sample.number] = found, sample.index
            if update.finished:
                self._forget(update.request_id)
            found.inbox.push(found.key, failure_of(update.error) if update.HasField("error") else update)
        if frame.HasField("load"):
            self.load = frame.load
            self._mine_at_load = len(self._requests)
        draining = frame.draining or self.load.draining
        if not self._open or draining != self._draining:
            self._open, self._draining = True, draining
            self._report(f"engine {self.address} is {'draining' if draining else 'connected'}")
            self._changed()

    def _forget(self, request_id: str) -> None:
        for number in self._requests.pop(request_id).numbers:
            del self._drawers[number]

    async def _read(self, session: Any, frame: Any) -> None:
        while frame is not grpc.aio.EOF:
            self._deliver(frame)
            frame = await session.read()

    async def _write(self, session: Any) -> None:
        while True:
            await session.write(await self._commands.get())

    async def _watch(self, stub: EngineStub) -> None:
        """A peer that vanished without a word sends no error: ask when it is silent. Raises when it stays so."""
        loop = asyncio.get_running_loop()
        while True:
            left_s = self._last_frame_s + self._timing.silence_s - loop.time()
            if left_s > 0:
                await asyncio.sleep(left_s)
                continue
            self.load = await stub.GetLoad(pb.GetLoadRequest(), timeout=self._timing.rpc_s)
            self._mine_at_load = len(self._requests)
            self._last_frame_s = loop.time()

    def _close(self) -> bool:
        was_open, self._open, self._draining = self._open, False, False
        requests, self._requests = self._requests, {}
        self._drawers.clear()
        self._commands = asyncio.Queue()
        self.load, self._mine_at_load = pb.Load(), 0
        failure: EngineFailure = lost(self.address)
        for asked in requests.values():
            asked.inbox.push(asked.key, failure)
        if was_open:
            self._changed()
        return was_open

    def _report(self, line: str) -> None:
        if line != self._reported:  # once, however often it is tried again
            self._reported = line
            _log.info(line)


async def _first_to_end(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run them together until one ends, end the others, and raise what it raised."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
