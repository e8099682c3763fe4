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
from pagelet_engine.server.refusal import RETRY_AFTER_MS, Code, refusal
from pagelet_engine.server.streams import Backlog, GenerateStream, SessionStream, Stream
from pagelet_engine.server.tokenizer_files import file_chunks
from pagelet_engine.server.validation import InvalidRequest, check_request

RETRY_AFTER_METADATA = "retry-after-ms"
"""Trailing metadata of a refused Generate; a Session carries the same number in RequestError."""

_UNREACHABLE = AssertionError("abort always raises")

_STATUS = {code.value[0]: code for code in grpc.StatusCode}

Context: TypeAlias = grpc.aio.ServicerContext


class StreamCut(Exception):
    """A client has left too much unread; the message says how much."""


class EngineService(inference_pb2_grpc.EngineServicer):
    """`model` gives the loaded model, None until the engine is ready."""

    def __init__(
        self, in_flight: InFlight, model: Callable[[], pb.ModelInfo | None], model_dir: Path, max_backlog_bytes: int
    ) -> None:
        self._in_flight = in_flight
        self._loaded_model = model
        self._model_dir = model_dir
        self._max_backlog_bytes = max_backlog_bytes

    # ---- requests --------------------------------------------------------------------------------------------------

    async def Generate(self, request: pb.GenerateRequest, context: Context) -> None:
        model = await self._model(context)
        stream = GenerateStream(self._max_backlog_bytes)
        try:
            self._submit(request, stream, model)
            await _first_of(_write_request(stream, context), _watch(stream.backlog))
        except StreamCut as cut:
            self._in_flight.close(stream)  # before the client is told: it may never listen
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(cut))
        finally:
            self._in_flight.close(stream)

    async def Session(self, commands: AsyncIterator[pb.SessionCommand], context: Context) -> None:
        model = await self._model(context)
        first = await anext(aiter(commands), None)
        if first is None:
            return
        if not first.HasField("hello"):
            await _invalid(context, "a session begins with hello, found another command: send hello first")
        session = SessionStream(
            model.engine_epoch, first.hello.kv_events, self._max_backlog_bytes, drawn=first.hello.drawn
        )
        self._in_flight.open_session(session)
        try:
            await _first_of(
                self._read_session(commands, session, model, context),
                _write_session(session, context),
                _watch(session.backlog),
            )
        except StreamCut as cut:
            self._in_flight.close(session)
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(cut))
        finally:
            self._in_flight.close_session(session)

    async def _read_session(
        self, commands: AsyncIterator[pb.SessionCommand], session: SessionStream, model: pb.ModelInfo, context: Context
    ) -> None:
        async for command in commands:
            match command.WhichOneof("command"):
                case "generate":
                    self._submit(command.generate, session, model)
                case "abort":
                    self._in_flight.abort(command.abort, session)
                case "hello":
                    await _invalid(context, "hello comes once, first on a session: found another")
                case None:
                    await _invalid(context, "a session command must be generate or abort, found neither")

    def _submit(self, request: pb.GenerateRequest, stream: Stream, model: pb.ModelInfo) -> None:
        try:
            check_request(request, model)
        except InvalidRequest as invalid:
            stream.add(refusal(request.request_id, Code.INVALID_ARGUMENT, str(invalid)))
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
        self._in_flight.drain()
        try:
            async with asyncio.timeout(request.timeout_ms / 1000 or None):
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


async def _watch(backlog: Backlog) -> None:
    await backlog.cut.wait()
    raise StreamCut(backlog.reason)


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


async def _invalid(context: Context, sentence: str) -> NoReturn:
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, sentence)
    raise _UNREACHABLE


async def _not_built(context: Context, sentence: str) -> NoReturn:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"not built yet: {sentence}")
    raise _UNREACHABLE
