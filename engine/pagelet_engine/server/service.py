"""`pagelet.engine.v1.Engine` over grpc.aio: each RPC turned into calls on the table of requests, and back.

Owns no request and no state of the engine. Every refusal leaves here as a status code with a sentence.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import grpc
from pagelet_api import inference_pb2 as pb
from pagelet_api import inference_pb2_grpc

from pagelet_engine.server.in_flight import InFlight
from pagelet_engine.server.messages import InvalidMessage
from pagelet_engine.server.refusal import RETRY_AFTER_MS, Code, refusal
from pagelet_engine.server.session_stream import SessionStream
from pagelet_engine.server.streams import GenerateStream, Stream
from pagelet_engine.server.tokenizer_files import file_chunks
from pagelet_engine.server.validation import MAX_REQUEST_ID_CHARACTERS, InvalidRequest, check_abort, check_request

RETRY_AFTER_METADATA = "retry-after-ms"
"""Trailing metadata of a refused Generate; a Session carries the same number in RequestError."""

MAX_SESSIONS = 128
"""Each may hold some megabytes of what its gateway has not read; a service has a handful of gateways."""

HELLO_TIMEOUT_S = 10.0
"""A gateway says hello with its first breath."""

_UNREACHABLE = AssertionError("abort always raises")

_STATUS = {code.value[0]: code for code in grpc.StatusCode}

Context: TypeAlias = grpc.aio.ServicerContext


class SessionRefused(Exception):
    """A gateway's session that ends here with a status of its own."""

    def __init__(self, code: grpc.StatusCode, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class EngineService(inference_pb2_grpc.EngineServicer):
    """`model` gives the loaded model, None until the engine is ready. `on_drain` hears of a Drain call and of its time
    in seconds; None: as long as it takes."""

    def __init__(
        self,
        in_flight: InFlight,
        model: Callable[[], pb.ModelInfo | None],
        model_dir: Path,
        on_drain: Callable[[float | None], None],
    ) -> None:
        self._in_flight = in_flight
        self._loaded_model = model
        self._model_dir = model_dir
        self._on_drain = on_drain

    # ---- requests --------------------------------------------------------------------------------------------------

    async def Generate(self, request: pb.GenerateRequest, context: Context) -> None:
        model = await self._model(context)
        stream = GenerateStream()
        try:
            self._submit(request, stream, model)
            await _write_request(stream, context)
        finally:
            self._in_flight.close(stream)

    async def Session(self, commands: AsyncIterator[pb.SessionCommand], context: Context) -> None:
        model = await self._model(context)
        # gRPC sends these with the first message otherwise, and takes them as sent only when that has been written: a
        # status beside it, or after it was cancelled, would bring them again, which fails, and the call never ends.
        await context.send_initial_metadata(())
        try:
            await self._serve_session(commands, model, context)
        except SessionRefused as refused:
            await context.abort(refused.code, str(refused))
        except (InvalidMessage, InvalidRequest) as invalid:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(invalid))

    async def _serve_session(
        self, commands: AsyncIterator[pb.SessionCommand], model: pb.ModelInfo, context: Context
    ) -> None:
        """Until the gateway or the engine ends it. Raises SessionRefused, InvalidMessage and InvalidRequest."""
        hello = await _hello(commands)
        if hello is None:
            return
        if self._in_flight.num_sessions >= MAX_SESSIONS:
            raise SessionRefused(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{MAX_SESSIONS} sessions are open on this engine, which is all it keeps: close others, or try later",
            )
        session = SessionStream(model.engine_epoch, hello.kv_events, drawn=hello.drawn)
        self._in_flight.open_session(session)
        try:
            await _first_of(self._read_session(commands, session, model), _write_session(session, context))
        finally:
            self._in_flight.close_session(session)

    async def _read_session(
        self, commands: AsyncIterator[pb.SessionCommand], session: SessionStream, model: pb.ModelInfo
    ) -> None:
        async for command in commands:
            match command.WhichOneof("command"):
                case "generate":
                    self._submit(command.generate, session, model)
                case "abort":
                    check_abort(command.abort, model.limits)
                    self._in_flight.abort(command.abort, session)
                case "hello":
                    raise InvalidMessage("hello comes once, first on a session: found another")
                case None:
                    raise InvalidMessage("a session command must be generate or abort, found neither")
            await session.until_room()

    def _submit(self, request: pb.GenerateRequest, stream: Stream, model: pb.ModelInfo) -> None:
        try:
            check_request(request, model)
        except InvalidRequest as invalid:
            name = request.request_id[:MAX_REQUEST_ID_CHARACTERS]
            stream.add(refusal(name, Code.INVALID_ARGUMENT, str(invalid)))
        else:
            self._in_flight.submit(request, stream)

    # ---- about the engine ------------------------------------------------------------------------------------------

    async def GetModelInfo(self, request: pb.GetModelInfoRequest, context: Context) -> pb.ModelInfo:
        return await self._model(context)

    async def GetLoad(self, request: pb.GetLoadRequest, context: Context) -> pb.Load:
        await self._model(context)
        return self._in_flight.load

    async def GetTokenizer(self, request: pb.GetTokenizerRequest, context: Context) -> None:
        await self._model(context)
        chunks = file_chunks(self._model_dir)
        while chunk := await asyncio.to_thread(next, chunks, None):
            await context.write(chunk)

    async def Drain(self, request: pb.DrainRequest, context: Context) -> pb.DrainResponse:
        timeout_s = request.timeout_ms / 1000 or None
        self._on_drain(timeout_s)
        self._in_flight.drain()
        try:
            async with asyncio.timeout(timeout_s):
                await self._in_flight.wait_until_empty()
        except TimeoutError:
            pass  # The answer says how many are left.
        return pb.DrainResponse(unfinished=len(self._in_flight))

    # ---- not built yet ---------------------------------------------------------------------------------------------

    async def Embed(self, request: pb.EmbedRequest, context: Context) -> NoReturn:
        await _not_built(context, "Embed: this engine generates text only")

    async def LoadAdapter(self, request: pb.LoadAdapterRequest, context: Context) -> NoReturn:
        await _not_built(context, "LoadAdapter: merge the adapter into the model, and serve that")

    async def UnloadAdapter(self, request: pb.UnloadAdapterRequest, context: Context) -> NoReturn:
        await _not_built(context, "UnloadAdapter: there are no adapters to unload")

    async def _model(self, context: Context) -> pb.ModelInfo:
        model = self._loaded_model()
        if model is None:
            retry = ((RETRY_AFTER_METADATA, str(RETRY_AFTER_MS)),)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the engine is loading its model: try later", retry)
            raise _UNREACHABLE
        return model


async def _write_request(stream: GenerateStream, context: Context) -> None:
    while True:
        update = await stream.take()
        if update.HasField("error"):
            await _refuse(context, update.error)
        await context.write(update)
        if update.finished:
            return


async def _write_session(session: SessionStream, context: Context) -> None:
    while frame := await session.take():
        await context.write(frame)


async def _hello(commands: AsyncIterator[pb.SessionCommand]) -> pb.SessionHello | None:
    """The first command; None when the client closes without one. Raises SessionRefused and InvalidMessage."""
    try:
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            first = await anext(aiter(commands), None)
    except TimeoutError:
        sentence = f"a session begins with hello, and none came within {HELLO_TIMEOUT_S:g} s: send it at once"
        raise SessionRefused(grpc.StatusCode.DEADLINE_EXCEEDED, sentence) from None
    if first is None:
        return None
    if not first.HasField("hello"):
        raise InvalidMessage("a session begins with hello, found another command: send hello first")
    return first.hello


async def _first_of(*parts: Coroutine[Any, Any, None]) -> None:
    """Run them together until one ends, end the others, and raise what it raised."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _refuse(context: Context, error: pb.RequestError) -> NoReturn:
    retry = ((RETRY_AFTER_METADATA, str(error.retry_after_ms)),) if error.retry_after_ms else ()
    await context.abort(_STATUS.get(error.code, grpc.StatusCode.UNKNOWN), error.message, retry)
    raise _UNREACHABLE


async def _not_built(context: Context, sentence: str) -> NoReturn:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"not built yet: {sentence}")
    raise _UNREACHABLE
