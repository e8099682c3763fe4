"""A gateway's stream: many requests, their aborts, the engine's load and KV events, one frame a step."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import grpc
import pytest
from pagelet_api import inference_pb2 as pb
from pagelet_api import inference_pb2_grpc
from pagelet_engine.server.service import MAX_SESSIONS

from .engine_process import DEADLINE_S, EngineProcess, request


class Gateway:
    """The client's side of one session; keeps what it has heard."""

    def __init__(self, stub: inference_pb2_grpc.EngineStub, *, kv_events: bool = False, drawn: bool = False) -> None:
        self._call = stub.Session()
        self._hello = pb.SessionHello(gateway="test", kv_events=kv_events, drawn=drawn)
        self.frames: list[pb.SessionFrame] = []

    async def hello(self) -> "Gateway":
        await self._send(hello=self._hello)
        return self

    async def generate(self, *requests: pb.GenerateRequest) -> None:
        for message in requests:
            await self._send(generate=message)

    async def abort(self, request_id: str, *samples: int) -> None:
        await self._send(abort=pb.Abort(request_id=request_id, samples=samples))

    async def _send(self, **command: object) -> None:
        await self._call.write(pb.SessionCommand(**command))

    async def hear_until(self, condition: Callable[[], bool]) -> None:
        """Read frames until they tell what is waited for."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                frame = await self._call.read()
                assert frame is not grpc.aio.EOF, "the session has ended"
                self.frames.append(frame)

    async def hear_the_end(self) -> grpc.StatusCode:
        """Read to the end; returns the status."""
        async with asyncio.timeout(DEADLINE_S):
            try:
                while (frame := await self._call.read()) is not grpc.aio.EOF:
                    self.frames.append(frame)
            except grpc.aio.AioRpcError:
                pass
            return await self._call.code()

    def cancel(self) -> None:
        self._call.cancel()

    async def details(self) -> str:
        return await self._call.details()

    # ---- what it has heard -----------------------------------------------------------------------------------------

    @property
    def last(self) -> pb.SessionFrame:
        """The last frame, or an empty one."""
        return self.frames[-1] if self.frames else pb.SessionFrame()

    def updates(self, request_id: str) -> list[pb.RequestUpdate]:
        return [update for frame in self.frames for update in frame.updates if update.request_id == request_id]

    def tokens(self, request_id: str) -> list[int]:
        """Of all its samples, in either form."""
        said: list[int] = []
        numbers: set[int] = set()
        for frame in self.frames:
            said += [t for n, t in zip(frame.drawn.samples, frame.drawn.token_ids, strict=True) if n in numbers]
            own = [s for update in frame.updates if update.request_id == request_id for s in update.samples]
            numbers |= {sample.number for sample in own if sample.HasField("number")}
            said += [token for sample in own for token in sample.token_ids]
        return said

    def finished(self, *request_ids: str) -> bool:
        return all(any(update.finished for update in self.updates(name)) for name in request_ids)

    def kv_events(self) -> list[pb.KvEvent]:
        return [event for frame in self.frames for event in frame.kv_events]


@pytest.fixture
async def stub(shared_engine: EngineProcess) -> AsyncIterator[inference_pb2_grpc.EngineStub]:
    async with grpc.aio.insecure_channel(shared_engine.target) as channel:
        yield inference_pb2_grpc.EngineStub(channel)


async def test_many_requests_share_a_session_and_each_gets_its_own(stub: inference_pb2_grpc.EngineStub) -> None:
    names = [f"r{length}" for length in range(1, 33)]
    gateway = await Gateway(stub).hello()
    await gateway.generate(*(request(name, tokens=[9] * (index + 1), max_tokens=5) for index, name in enumerate(names)))
    await gateway.hear_until(lambda: gateway.finished(*names))
    for index, name in enumerate(names):
        assert gateway.tokens(name) == list(range(index + 1, index + 6))
    gateway.cancel()


async def test_a_session_that_reads_drawn_tokens_hears_the_same_in_fewer_updates(
    stub: inference_pb2_grpc.EngineStub,
) -> None:
    plain, lean = await Gateway(stub).hello(), await Gateway(stub, drawn=True).hello()
    await plain.generate(request("plain", max_tokens=40), request("plain logprobs", max_tokens=4, logprobs=1))
    await lean.generate(request("lean", max_tokens=40), request("lean logprobs", max_tokens=4, logprobs=1))
    await plain.hear_until(lambda: plain.finished("plain", "plain logprobs"))
    await lean.hear_until(lambda: lean.finished("lean", "lean logprobs"))
    assert plain.tokens("plain") == lean.tokens("lean") == list(range(3, 43))
    assert plain.tokens("plain logprobs") == lean.tokens("lean logprobs")
    assert not any(frame.drawn.samples for frame in plain.frames)
    assert len(lean.updates("lean")) == 2, "its first tokens and its last"
    plain.cancel()
    lean.cancel()


async def test_a_session_hears_of_its_own_requests_only(stub: inference_pb2_grpc.EngineStub) -> None:
    mine, other = await Gateway(stub).hello(), await Gateway(stub).hello()
    await mine.generate(request("mine", max_tokens=50))
    await other.generate(request("other", max_tokens=50))
    await mine.hear_until(lambda: mine.finished("mine"))
    await other.hear_until(lambda: other.finished("other"))
    assert not mine.updates("other")
    assert not other.updates("mine")
    mine.cancel()
    other.cancel()


async def test_frames_tell_load_step_and_epoch(stub: inference_pb2_grpc.EngineStub) -> None:
    info = await stub.GetModelInfo(pb.GetModelInfoRequest())
    gateway = await Gateway(stub).hello()
    await gateway.generate(request("load", max_tokens=200))
    await gateway.hear_until(lambda: gateway.finished("load"))
    assert {frame.engine_epoch for frame in gateway.frames} == {info.engine_epoch}
    assert any(frame.load.running == 1 and frame.load.blocks_in_use > 0 for frame in gateway.frames)
    steps = [frame.step for frame in gateway.frames]
    assert steps == sorted(steps)
    gateway.cancel()


async def test_an_idle_engine_is_still_heard(stub: inference_pb2_grpc.EngineStub) -> None:
    gateway = await Gateway(stub).hello()
    await gateway.hear_until(lambda: len(gateway.frames) >= 3)
    assert not any(frame.updates for frame in gateway.frames)
    gateway.cancel()


async def test_an_abort_ends_the_request_and_says_so(stub: inference_pb2_grpc.EngineStub) -> None:
    gateway = await Gateway(stub).hello()
    await gateway.generate(request("aborted"))
    await gateway.hear_until(lambda: bool(gateway.tokens("aborted")))
    await gateway.abort("aborted")
    await gateway.hear_until(lambda: gateway.finished("aborted"))
    assert gateway.updates("aborted")[-1].samples[0].finish_reason == pb.ABORT
    await gateway.hear_until(lambda: gateway.last.load.blocks_in_use == 0)
    gateway.cancel()


async def test_an_abort_of_one_sample_leaves_the_others(stub: inference_pb2_grpc.EngineStub) -> None:
    gateway = await Gateway(stub).hello()
    await gateway.generate(request("pair", n=2, max_tokens=2000))
    await gateway.hear_until(lambda: bool(gateway.tokens("pair")))
    await gateway.abort("pair", 1)
    await gateway.hear_until(lambda: gateway.finished("pair"))
    reasons = {s.index: s.finish_reason for u in gateway.updates("pair") for s in u.samples if s.finish_reason}
    assert reasons == {0: pb.LENGTH, 1: pb.ABORT}
    gateway.cancel()


async def test_a_session_cannot_abort_the_request_of_another(stub: inference_pb2_grpc.EngineStub) -> None:
    mine, other = await Gateway(stub).hello(), await Gateway(stub).hello()
    await mine.generate(request("guarded", max_tokens=2000))
    await mine.hear_until(lambda: bool(mine.tokens("guarded")))
    await other.abort("guarded")
    await mine.hear_until(lambda: mine.finished("guarded"))
    assert len(mine.tokens("guarded")) == 2000
    mine.cancel()
    other.cancel()


async def test_a_bad_request_is_refused_alone(stub: inference_pb2_grpc.EngineStub) -> None:
    gateway = await Gateway(stub).hello()
    await gateway.generate(request("bad", n=10**9), request("good", max_tokens=3))
    await gateway.hear_until(lambda: gateway.finished("bad", "good"))
    error = gateway.updates("bad")[-1].error
    assert error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert "1000000000" in error.message
    assert gateway.tokens("good") == [3, 4, 5]
    gateway.cancel()


async def test_a_session_without_hello_is_refused(stub: inference_pb2_grpc.EngineStub) -> None:
    gateway = Gateway(stub)
    await gateway.generate(request("early"))
    assert await gateway.hear_the_end() is grpc.StatusCode.INVALID_ARGUMENT
    assert "hello" in await gateway.details()


async def test_a_gateway_that_goes_away_leaves_no_block_in_use(
    shared_engine: EngineProcess, stub: inference_pb2_grpc.EngineStub
) -> None:
    gateway = await Gateway(stub).hello()
    names = [f"left{index}" for index in range(16)]
    await gateway.generate(*map(request, names))
    await gateway.hear_until(lambda: all(map(gateway.tokens, names)))
    gateway.cancel()
    shared_engine.wait_for(lambda: shared_engine.metric("vllm:num_requests_running") == 0, "nothing running")
    shared_engine.wait_for(lambda: shared_engine.metric("pagelet:kv_blocks_in_use") == 0, "no block in use")


async def test_kv_events_begin_with_a_snapshot_and_then_follow_in_sequence(
    stub: inference_pb2_grpc.EngineStub,
) -> None:
    prompt = list(range(60_500, 60_548))  # three blocks
    early = await Gateway(stub, kv_events=True).hello()
    await early.generate(request("cached", tokens=[*prompt, 1], max_tokens=1))
    await early.hear_until(lambda: early.finished("cached"))
    late = await Gateway(stub, kv_events=True).hello()
    await late.hear_until(lambda: any(frame.kv_snapshot for frame in late.frames))
    snapshot = next(frame for frame in late.frames if frame.kv_snapshot)
    assert snapshot.kv_events[0].WhichOneof("event") == "all_blocks_cleared"
    held = {event.block_stored.block_hashes[0]: event.block_stored for event in snapshot.kv_events[1:]}
    chain = [block for block in held.values() if set(block.token_ids) <= set(prompt)]
    assert [list(block.token_ids) for block in chain] == [prompt[:16], prompt[16:32], prompt[32:]]
    assert [block.parent_block_hash in held for block in chain[1:]] == [True, True]

    await early.hear_until(lambda: any(event.HasField("block_stored") for event in early.kv_events()))
    sequence = snapshot.kv_sequence
    await early.generate(request("more", tokens=range(60_600, 60_633), max_tokens=1))
    await late.hear_until(lambda: late.last.kv_sequence > sequence)
    news = [frame for frame in late.frames if frame.kv_events and not frame.kv_snapshot]
    for frame in news:
        sequence += len(frame.kv_events)
        assert frame.kv_sequence == sequence
    early.cancel()
    late.cancel()


async def test_a_session_that_did_not_ask_hears_no_kv_events(stub: inference_pb2_grpc.EngineStub) -> None:
    listener, other = await Gateway(stub, kv_events=True).hello(), await Gateway(stub).hello()
    await other.generate(request("quiet", tokens=range(60_700, 60_740), max_tokens=1))
    await other.hear_until(lambda: other.finished("quiet"))
    await listener.hear_until(lambda: bool(listener.kv_events()))
    assert not other.kv_events()
    listener.cancel()
    other.cancel()


async def test_a_gateway_that_stalls_loses_nothing_and_the_others_are_served(
    shared_engine: EngineProcess, stub: inference_pb2_grpc.EngineStub
) -> None:
    deaf = await Gateway(stub).hello()
    await deaf.generate(request("deaf", n=128, logprobs=20, max_tokens=300))
    shared_engine.wait_for(lambda: shared_engine.metric("vllm:num_requests_running") == 1, "the request to run")
    good = [update async for update in stub.Generate(request("good", max_tokens=3))]
    assert good[-1].finished
    shared_engine.wait_for(lambda: shared_engine.metric("vllm:num_requests_running") == 0, "the request to finish")
    await deaf.hear_until(lambda: deaf.finished("deaf"))
    assert len(deaf.tokens("deaf")) == 128 * 300
    deaf.cancel()


# ---- every way a session ends ----------------------------------------------------------------------------------------


HELLO = pb.SessionCommand(hello=pb.SessionHello(gateway="test"))
GENERATE = pb.SessionCommand(generate=request("unending"))
INVALID, OK = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OK
ENDS = {
    "nothing": ([], OK, ""),
    "hello alone": ([HELLO], OK, ""),
    "hello twice": ([HELLO, HELLO], INVALID, "hello comes once"),
    "an empty command": ([HELLO, pb.SessionCommand()], INVALID, "found neither"),
    "an empty command first": ([pb.SessionCommand()], INVALID, "send hello first"),
    "an abort of too many samples": (
        [HELLO, pb.SessionCommand(abort=pb.Abort(request_id="x", samples=range(129)))],
        INVALID,
        "abort must name at most 128 samples",
    ),
    "a request, then hello": ([HELLO, GENERATE, HELLO], INVALID, "hello comes once"),
    "a request": ([HELLO, GENERATE], OK, ""),
}


@pytest.mark.parametrize(("commands", "status", "told"), ENDS.values(), ids=ENDS.keys())
async def test_a_session_ends_with_what_it_is_sent(
    commands: list[pb.SessionCommand], status: grpc.StatusCode, told: str, stub: inference_pb2_grpc.EngineStub
) -> None:
    assert await end_of(stub, commands) == (status, told)


async def end_of(stub: inference_pb2_grpc.EngineStub, commands: list[pb.SessionCommand]) -> tuple[grpc.StatusCode, str]:
    """Send these, say that nothing follows, and read to the end: the status, and what it says of `ENDS`."""
    call = stub.Session(iter(commands))
    async with asyncio.timeout(DEADLINE_S):
        try:
            async for _ in call:
                pass
        except grpc.aio.AioRpcError:
            pass
        details = await call.details()
        told = {told for _, _, told in ENDS.values() if told and told in details}
        return await call.code(), told.pop() if told else details


async def test_bytes_that_are_no_command_end_a_session_alone(shared_engine: EngineProcess) -> None:
    async with grpc.aio.insecure_channel(shared_engine.target) as channel:
        call = channel.stream_stream("/pagelet.engine.v1.Engine/Session")(
            iter([HELLO.SerializeToString(), b"\x0a\xff"])
        )
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            async for _ in call:
                pass
    assert ended.value.code() is INVALID
    assert "wanted a SessionCommand, found 2 bytes that are none" in ended.value.details()


async def test_hundreds_of_sessions_at_once_all_end_and_leave_nothing(
    shared_engine: EngineProcess, stub: inference_pb2_grpc.EngineStub
) -> None:
    async def cancel_one(number: int) -> None:
        gateway = await Gateway(stub).hello()
        await gateway.generate(request(f"cancelled{number}"))
        if number % 2:
            await gateway.hear_until(lambda: bool(gateway.frames))
        gateway.cancel()

    for turn in range(4):
        ways = list(ENDS.values()) * 12
        cancelling = asyncio.gather(*(cancel_one(100 * turn + number) for number in range(24)))
        told = await asyncio.gather(*(end_of(stub, commands) for commands, _, _ in ways))
        assert told == [(status, said) for _, status, said in ways]
        await cancelling
    shared_engine.wait_for(lambda: shared_engine.metric("vllm:num_requests_running") == 0, "nothing running")
    sessions: list[Gateway] = []
    async with asyncio.timeout(DEADLINE_S):
        while len(sessions) < MAX_SESSIONS:  # one that was cancelled a moment ago may still hold a place
            session = await Gateway(stub).hello()
            with contextlib.suppress(AssertionError, grpc.aio.AioRpcError):
                await session.hear_until(lambda session=session: bool(session.frames))
                sessions.append(session)
    late = await Gateway(stub).hello()
    assert await late.hear_the_end() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert f"{MAX_SESSIONS} sessions are open" in await late.details()
    for session in sessions:
        session.cancel()
