"""An engine without a model: the real protocol over a real socket, answering with scripted tokens.

It steps as an engine does, one frame a step with one token for every running sample, freely or step by step.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import grpc
from pagelet_api import inference_pb2 as pb
from pagelet_api import inference_pb2_grpc

Script = Callable[[pb.GenerateRequest, int], Sequence[int]]
"""The tokens of one sample: (request, sample's index) → ids. It ends with STOP at an end token, or else with LENGTH."""


@dataclass
class Running:
    request: pb.GenerateRequest
    frames: "asyncio.Queue[pb.SessionFrame | None]"
    outputs: list[list[int]]
    numbers: list[int]
    """What the engine calls its samples."""
    position: int = 0
    live: set[int] = field(default_factory=set)

    @property
    def id(self) -> str:
        return self.request.request_id


class FakeEngine(inference_pb2_grpc.EngineServicer):
    def __init__(self, files: dict[str, bytes], info: pb.ModelInfo, script: Script) -> None:
        self.files = files
        self.info = info
        self.script = script
        self.requests: list[pb.GenerateRequest] = []
        self.aborts: list[tuple[str, tuple[int, ...]]] = []
        self.refusal: pb.RequestError | None = None
        self.tokenizer_reads = 0
        self.draining = False
        self.tokens_per_step = 1
        self.speaks_leanly = True
        """Like an engine of this release, where the gateway reads it; else like one of the release before."""
        self.running: dict[str, Running] = {}
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.port = 0
        self._wake = asyncio.Event()
        self._sessions: set[asyncio.Queue[pb.SessionFrame | None]] = set()
        self._lean_sessions: set[asyncio.Queue[pb.SessionFrame | None]] = set()
        self._numbers = itertools.count()
        self._server: grpc.aio.Server | None = None
        self._loop_task: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    # ---- life ----------------------------------------------------------------------------------------------------

    async def start(self, port: int = 0) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        inference_pb2_grpc.add_EngineServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        await self._server.start()
        self._loop_task = asyncio.create_task(self._steps())

    async def die(self) -> None:
        """Every connection breaks at once."""
        assert self._server is not None
        assert self._loop_task is not None
        self._loop_task.cancel()
        await self._server.stop(grace=None)
        self.running.clear()
        self._sessions.clear()

    async def restart(self) -> None:
        """As a new process on the same address."""
        await self.die()
        self.draining = False
        await self.start(self.port)

    def pause(self) -> None:
        self.flowing.clear()

    def resume(self) -> None:
        self.flowing.set()

    def announce_drain(self) -> None:
        self.draining = True
        for session in self._sessions:
            session.put_nowait(self._frame())

    # ---- steps ---------------------------------------------------------------------------------------------------

    async def _steps(self) -> None:
        while True:
            if not self.running:
                self._wake.clear()
                await self._wake.wait()
            await self.flowing.wait()
            self.step()
            await asyncio.sleep(0)

    def step(self) -> None:
        """One token for every running sample."""
        frames: dict[int, tuple[asyncio.Queue[pb.SessionFrame | None], pb.SessionFrame]] = {}
        for running in list(self.running.values()):
            update = self._advance(running)
            if update.finished:
                del self.running[running.id]
            _, frame = frames.setdefault(id(running.frames), (running.frames, self._frame()))
            if self.speaks_leanly and running.frames in self._lean_sessions:
                self._say_leanly(running, update, frame)
            else:
                frame.updates.append(update)
        for queue, frame in frames.values():
            queue.put_nowait(frame)

    def _say_leanly(self, running: Running, update: pb.RequestUpdate, frame: pb.SessionFrame) -> None:
        """As core and front do: samples are named with their first tokens, then what is but one more token is drawn."""
        if update.HasField("prompt"):
            for sample in update.samples:
                sample.number = running.numbers[sample.index]
        elif not update.finished:
            told = []
            for sample in update.samples:
                if sample.finish_reason or sample.logprobs or len(sample.token_ids) != 1:
                    told.append(sample)
                else:
                    frame.drawn.samples.append(running.numbers[sample.index])
                    frame.drawn.token_ids.append(sample.token_ids[0])
            if not told:
                return
            update = pb.RequestUpdate(request_id=update.request_id, samples=told)
        frame.updates.append(update)

    def _advance(self, running: Running) -> pb.RequestUpdate:
        sampling = running.request.sampling
        update = pb.RequestUpdate(request_id=running.id)
        prompt = running.request.prompt[0].token_ids.ids
        if running.position == 0:
            update.prompt.tokens = len(prompt)
            update.prompt.cached_tokens = len(prompt) // 2
            if sampling.HasField("prompt_logprobs"):
                update.prompt.logprobs.append(pb.TokenLogprobs())
                update.prompt.logprobs.extend(self._logprobs(id, sampling.prompt_logprobs) for id in prompt[1:])
        first, running.position = running.position, running.position + self.tokens_per_step
        longest = sampling.max_tokens if sampling.HasField("max_tokens") else self.info.max_model_len - len(prompt)
        for index in sorted(running.live):
            sample = update.samples.add(index=index)
            for position in range(first, running.position):
                output = running.outputs[index]
                token = output[position % len(output)]
                sample.token_ids.append(token)
                if sampling.HasField("logprobs"):
                    sample.logprobs.append(self._logprobs(token, sampling.logprobs))
                ends = set(sampling.stop_token_ids) | (set() if sampling.ignore_eos else set(self.info.eos_token_ids))
                if token in ends and position + 1 > sampling.min_tokens:
                    sample.finish_reason = pb.STOP
                    sample.stop_token_id = token
                elif position + 1 >= longest:
                    sample.finish_reason = pb.LENGTH
                if sample.finish_reason:
                    running.live.discard(index)
                    break
        update.finished = not running.live
        return update

    def _logprobs(self, token: int, top: int) -> pb.TokenLogprobs:
        """The token itself is always second, with −0.5; the likeliest is token 5, with −0.25."""
        others = [5, token, 6, 7, 8, 9, 10, 11][:top]
        logprobs = [-0.25, -0.5, -1.0, float("-inf"), -2.0, -2.5, -3.0, -3.5][:top]
        return pb.TokenLogprobs(token_id=token, logprob=-0.5, rank=2, top_token_ids=others, top_logprobs=logprobs)

    def _frame(self) -> pb.SessionFrame:
        load = pb.Load(running=len(self.running), draining=self.draining)
        return pb.SessionFrame(load=load, draining=self.draining)

    # ---- the protocol --------------------------------------------------------------------------------------------

    async def Session(
        self, commands: AsyncIterator[pb.SessionCommand], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.SessionFrame]:
        frames: asyncio.Queue[pb.SessionFrame | None] = asyncio.Queue()
        self._sessions.add(frames)
        frames.put_nowait(self._frame())
        reader = asyncio.create_task(self._commands(commands, frames))
        try:
            while (frame := await frames.get()) is not None:
                yield frame
        finally:
            reader.cancel()
            self._sessions.discard(frames)
            self._lean_sessions.discard(frames)
            for id in [id for id, running in self.running.items() if running.frames is frames]:
                self.aborts.append((id, ()))
                del self.running[id]

    async def _commands(
        self, commands: AsyncIterator[pb.SessionCommand], frames: "asyncio.Queue[pb.SessionFrame | None]"
    ) -> None:
        async for command in commands:
            if command.HasField("hello") and command.hello.drawn:
                self._lean_sessions.add(frames)
            elif command.HasField("generate"):
                self._generate(command.generate, frames)
            elif command.HasField("abort"):
                self._abort(command.abort)

    def _generate(self, request: pb.GenerateRequest, frames: "asyncio.Queue[pb.SessionFrame | None]") -> None:
        self.requests.append(request)
        if self.refusal is not None:
            frame = self._frame()
            frame.updates.append(pb.RequestUpdate(request_id=request.request_id, error=self.refusal, finished=True))
            frames.put_nowait(frame)
            return
        n = request.sampling.n or 1
        outputs = [list(self.script(request, index)) for index in range(n)]
        numbers = list(itertools.islice(self._numbers, n))
        self.running[request.request_id] = Running(request, frames, outputs, numbers, live=set(range(n)))
        self._wake.set()

    def _abort(self, abort: pb.Abort) -> None:
        self.aborts.append((abort.request_id, tuple(abort.samples)))
        running = self.running.get(abort.request_id)
        if running is None:
            return
        running.live -= set(abort.samples) or set(running.live)
        if not running.live:
            del self.running[abort.request_id]
            frame = self._frame()
            frame.updates.append(pb.RequestUpdate(request_id=abort.request_id, finished=True))
            running.frames.put_nowait(frame)

    async def GetModelInfo(self, request: pb.GetModelInfoRequest, context: grpc.aio.ServicerContext) -> pb.ModelInfo:
        return self.info

    async def GetTokenizer(
        self, request: pb.GetTokenizerRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.FileChunk]:
        self.tokenizer_reads += 1
        for name, data in self.files.items():
            for offset in range(0, max(1, len(data)), 4096):
                yield pb.FileChunk(name=name, size=len(data), offset=offset, data=data[offset : offset + 4096])

    async def GetLoad(self, request: pb.GetLoadRequest, context: grpc.aio.ServicerContext) -> pb.Load:
        return self._frame().load
