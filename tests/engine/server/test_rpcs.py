"""Every RPC of a ready engine, by real clients over a real socket."""

import asyncio
import socket
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from pagelet_api import inference_pb2 as pb
from pagelet_api import inference_pb2_grpc
from pagelet_engine.server.ops import MAX_CONNECTIONS

from .engine_process import DEADLINE_S, TOKENIZER, EngineProcess, request
from .fake_worker import MAX_MODEL_LEN, NAN, NOTHING, NUM_BLOCKS, VOCABULARY


@pytest.fixture
async def stub(shared_engine: EngineProcess) -> AsyncIterator[inference_pb2_grpc.EngineStub]:
    async with grpc.aio.insecure_channel(shared_engine.target) as channel:
        yield inference_pb2_grpc.EngineStub(channel)


async def tokens_of(call: AsyncIterator[pb.RequestUpdate]) -> dict[int, list[int]]:
    """Token ids by sample."""
    tokens: dict[int, list[int]] = {}
    async for update in call:
        for sample in update.samples:
            tokens.setdefault(sample.index, []).extend(sample.token_ids)
    return tokens


async def refusal_of(call: AsyncIterator[object]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in call:
            pass
    return refused.value


# ---- Generate --------------------------------------------------------------------------------------------------------


async def test_generate_streams_every_token_and_says_how_it_ended(stub: inference_pb2_grpc.EngineStub) -> None:
    updates = [update async for update in stub.Generate(request("one", max_tokens=4))]
    assert [token for update in updates for sample in update.samples for token in sample.token_ids] == [3, 4, 5, 6]
    assert updates[0].prompt.tokens == 3
    assert [update.finished for update in updates] == [False] * (len(updates) - 1) + [True]
    assert updates[-1].samples[0].finish_reason == pb.LENGTH


async def test_a_stop_token_ends_the_sample_and_is_reported(stub: inference_pb2_grpc.EngineStub) -> None:
    updates = [update async for update in stub.Generate(request("stop", stop_token_ids=[5], max_tokens=100))]
    last = updates[-1].samples[0]
    assert (last.finish_reason, last.stop_token_id, last.token_ids[-1]) == (pb.STOP, 5, 5)


async def test_n_samples_come_on_one_stream(stub: inference_pb2_grpc.EngineStub) -> None:
    assert await tokens_of(stub.Generate(request("n", n=3, max_tokens=5))) == {
        sample: [3, 4, 5, 6, 7] for sample in range(3)
    }


async def test_logprobs_come_with_each_token(stub: inference_pb2_grpc.EngineStub) -> None:
    async for update in stub.Generate(request("logprobs", logprobs=2, max_tokens=2)):
        for sample in update.samples:
            assert [entry.token_id for entry in sample.logprobs] == list(sample.token_ids)
            assert all(len(entry.top_token_ids) == len(entry.top_logprobs) == 2 for entry in sample.logprobs)


@pytest.mark.parametrize(
    ("first", "code", "sentence", "num_counted"),
    [
        (NAN, grpc.StatusCode.INTERNAL, "the model computed NaN or infinity", 40),
        (NOTHING, grpc.StatusCode.INVALID_ARGUMENT, "nothing was left to sample", 0),
    ],
)
async def test_one_clients_requests_that_get_no_token_say_why_and_end_nothing_else(
    shared_engine: EngineProcess,
    stub: inference_pb2_grpc.EngineStub,
    first: int,
    code: grpc.StatusCode,
    sentence: str,
    num_counted: int,
) -> None:
    counted = shared_engine.metric("pagelet:requests_broken_total")
    served = shared_engine.metric("vllm:request_success_total")
    for number in range(40):
        error = await refusal_of(stub.Generate(request(f"no token {number}", tokens=[first], n=2)))
        assert (error.code(), sentence in (error.details() or "")) == (code, True)
    assert await tokens_of(stub.Generate(request("next", max_tokens=2))) == {0: [3, 4]}
    assert shared_engine.metric("pagelet:requests_broken_total") - counted == num_counted
    assert shared_engine.metric("vllm:request_success_total") - served == 1, "the engine's own is not counted"


async def test_cancelling_a_call_frees_its_blocks(
    shared_engine: EngineProcess, stub: inference_pb2_grpc.EngineStub
) -> None:
    call = stub.Generate(request("cancelled", n=4))
    await anext(aiter(call))
    call.cancel()
    before = await stub.GetLoad(pb.GetLoadRequest())
    shared_engine.wait_for(lambda: shared_engine.metric("pagelet:kv_blocks_in_use") == 0, "no block in use")
    after = await stub.GetLoad(pb.GetLoadRequest())
    assert (after.running, after.waiting, after.blocks_in_use) == (0, 0, 0)
    assert after.step < before.step + MAX_MODEL_LEN // 2, "the request ran on to its end"


async def test_an_id_in_flight_is_refused(shared_engine: EngineProcess, stub: inference_pb2_grpc.EngineStub) -> None:
    first = stub.Generate(request("twice"))
    await anext(aiter(first))
    error = await refusal_of(stub.Generate(request("twice")))
    first.cancel()
    assert error.code() is grpc.StatusCode.ALREADY_EXISTS
    assert "'twice'" in error.details()
    shared_engine.wait_for(lambda: shared_engine.metric("vllm:num_requests_running") == 0, "the first to end")


async def test_a_deadline_ends_a_request_with_what_it_has(stub: inference_pb2_grpc.EngineStub) -> None:
    message = request("deadline")
    message.deadline_ms = 50
    updates = [update async for update in stub.Generate(message)]
    assert updates[-1].samples[0].finish_reason == pb.DEADLINE


# ---- nonsense --------------------------------------------------------------------------------------------------------


async def test_a_prompt_that_is_too_long_is_refused_with_the_numbers(stub: inference_pb2_grpc.EngineStub) -> None:
    error = await refusal_of(stub.Generate(request("long", tokens=[VOCABULARY - 1] * 100_000)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "100000 tokens" in error.details()
    assert str(MAX_MODEL_LEN) in error.details()


async def test_a_message_longer_than_any_request_is_refused_unread(stub: inference_pb2_grpc.EngineStub) -> None:
    error = await refusal_of(stub.Generate(request("longer", tokens=[VOCABULARY - 1] * 1_000_000)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "GenerateRequest has 3000" in error.details()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.LoadAdapter(pb.LoadAdapterRequest(name="x" * 70_000))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_message_beyond_grpcs_limit_is_refused_with_the_limit(stub: inference_pb2_grpc.EngineStub) -> None:
    message = request("huge")
    message.cache_salt = "x" * (9 * 2**20)
    error = await refusal_of(stub.Generate(message))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(8 * 2**20) in error.details()


NONSENSE = {
    "empty": b"",
    "not HTTP/2": b"GET / HTTP/1.1\r\n\r\n",
    "noise": bytes(range(256)) * 64,
    "a preface, then noise": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 4096,
    "a frame with a lying length": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff\xff\xff\x04\x00\x00\x00\x00\x00",
}


@pytest.mark.parametrize("garbage", NONSENSE.values(), ids=NONSENSE.keys())
async def test_garbage_on_the_port_harms_nobody(
    garbage: bytes, shared_engine: EngineProcess, stub: inference_pb2_grpc.EngineStub
) -> None:
    with socket.create_connection(("127.0.0.1", shared_engine.ports()[0]), timeout=DEADLINE_S) as connection:
        connection.sendall(garbage)
        assert await tokens_of(stub.Generate(request("good", max_tokens=2))) == {0: [3, 4]}


@pytest.mark.parametrize("method", ["Generate", "GetLoad", "Session"])
async def test_bytes_that_are_no_message_end_that_call_alone(
    method: str, shared_engine: EngineProcess, stub: inference_pb2_grpc.EngineStub
) -> None:
    # Field 1, of 2^31 bytes: a message whose length lies.
    lie = b"\x0a\xff\xff\xff\xff\x07abc"
    async with grpc.aio.insecure_channel(shared_engine.target) as channel:
        call = channel.stream_stream(f"/pagelet.engine.v1.Engine/{method}")(iter([lie]))
        error = await refusal_of(call)
    assert error.code() in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INVALID_ARGUMENT}
    assert await tokens_of(stub.Generate(request("good", max_tokens=2))) == {0: [3, 4]}


async def test_http_nonsense_on_the_ops_port_gets_a_4xx(shared_engine: EngineProcess) -> None:
    async def exchange(sent: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", shared_engine.ports()[1])
        writer.write(sent)
        answer = await reader.read()
        writer.close()
        return answer.split(b"\r\n")[0]

    assert b" 400 " in await exchange(b"hello\r\n\r\n")
    assert b" 404 " in await exchange(b"GET /nothing HTTP/1.1\r\n\r\n")
    assert b" 405 " in await exchange(b"POST /metrics HTTP/1.1\r\n\r\n")
    assert b" 431 " in await exchange(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n")
    assert b" 200 " in await exchange(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")


async def test_the_ops_port_answers_while_others_leave_connections_open(shared_engine: EngineProcess) -> None:
    port = shared_engine.ports()[1]
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2 * MAX_CONNECTIONS)]
    for _, writer in idle:
        writer.write(b"GET /health HTTP/1.1\r\n")
    assert (await asyncio.to_thread(shared_engine.get, "/health"))[0] == 200
    assert await idle[0][0].read() == b"", "the oldest made room"
    for _, writer in idle:
        writer.close()


# ---- about the engine ------------------------------------------------------------------------------------------------


async def test_model_info_says_what_a_client_may_ask_for(stub: inference_pb2_grpc.EngineStub) -> None:
    info = await stub.GetModelInfo(pb.GetModelInfoRequest())
    assert (info.name, info.vocab_size, info.max_model_len) == ("fake", VOCABULARY, MAX_MODEL_LEN)
    assert (info.num_blocks, info.block_size, info.quantization) == (NUM_BLOCKS, 16, "none")
    assert info.limits.max_n
    assert info.limits.max_queued_requests == 1024
    assert info.engine_epoch


async def test_tokenizer_files_come_whole_in_chunks_of_a_mebibyte(stub: inference_pb2_grpc.EngineStub) -> None:
    files: dict[str, bytes] = {}
    async for chunk in stub.GetTokenizer(pb.GetTokenizerRequest()):
        assert chunk.offset == len(files.get(chunk.name, b""))
        assert len(chunk.data) <= 2**20
        files[chunk.name] = files.get(chunk.name, b"") + chunk.data
        assert len(files[chunk.name]) <= chunk.size
    assert files == {"tokenizer.json": TOKENIZER, "config.json": b"{}"}


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("Embed", pb.EmbedRequest()),
        ("LoadAdapter", pb.LoadAdapterRequest()),
        ("UnloadAdapter", pb.UnloadAdapterRequest()),
    ],
)
async def test_what_is_not_built_says_so(method: str, message: object, stub: inference_pb2_grpc.EngineStub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await getattr(stub, method)(message)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert method in refused.value.details()


@pytest.mark.parametrize("service", ["", "pagelet.engine.v1.Engine"])
async def test_health_says_serving(service: str, shared_engine: EngineProcess) -> None:
    async with grpc.aio.insecure_channel(shared_engine.target) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_tells_services_and_messages(shared_engine: EngineProcess) -> None:
    with grpc.insecure_channel(shared_engine.target) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        services = database.get_services()
        described = database.FindFileContainingSymbol("pagelet.engine.v1.GenerateRequest")
    assert {"pagelet.engine.v1.Engine", "grpc.health.v1.Health"} <= set(services)
    assert "SamplingParams" in {message.name for message in described.message_type}


async def test_metrics_count_tokens_and_requests(
    shared_engine: EngineProcess, stub: inference_pb2_grpc.EngineStub
) -> None:
    names = (
        "vllm:prompt_tokens_total",
        "vllm:generation_tokens_total",
        "vllm:request_success_total",
        "vllm:time_to_first_token_seconds_count",
        "vllm:inter_token_latency_seconds_count",
        "vllm:e2e_request_latency_seconds_count",
        "vllm:request_queue_time_seconds_count",
    )
    before = {name: shared_engine.metric(name) for name in names}
    await tokens_of(stub.Generate(request("counted", tokens=range(10), max_tokens=4)))
    grown = [shared_engine.metric(name) - before[name] for name in names]
    assert grown == [10, 4, 1, 1, 3, 1, 1]
    assert shared_engine.metric("vllm:cache_config_info") == 1
    assert shared_engine.metric("vllm:iteration_tokens_total_sum") >= 13
