"""How an engine starts and how it ends: every way of it, as real processes."""

import json
import os
import signal
import socket
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pagelet_api import inference_pb2 as pb
from pagelet_api import inference_pb2_grpc

from .engine_process import EngineProcess, request, wait_for
from .test_session import Gateway

Start = Callable[..., EngineProcess]


@pytest.fixture
async def engine(start_engine: Start) -> EngineProcess:
    """A ready engine of the test's own."""
    engine = start_engine(drainTimeoutS=30)
    engine.wait_until_ready()
    return engine


@pytest.fixture
async def stub(engine: EngineProcess) -> AsyncIterator[inference_pb2_grpc.EngineStub]:
    async with grpc.aio.insecure_channel(engine.target) as channel:
        yield inference_pb2_grpc.EngineStub(channel)


async def status_of_health(engine: EngineProcess) -> int:
    async with grpc.aio.insecure_channel(engine.target) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    return answer.status


HUNG_TOKENS = 4_000
"""More than an engine generates before it can be held."""


async def hung_request(engine: EngineProcess, stub: inference_pb2_grpc.EngineStub) -> Gateway:
    """A session with one request, "hung": it has begun, and does not go on while the switch `hold` is on."""
    gateway = await Gateway(stub).hello()
    await gateway.generate(request("hung", max_tokens=HUNG_TOKENS))
    await gateway.hear_until(lambda: bool(gateway.tokens("hung")))
    engine.switch("hold")
    assert not gateway.finished("hung")
    return gateway


def is_gone(pid: int) -> bool:
    """Ended, or a zombie that nobody has waited for yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


# ---- start -----------------------------------------------------------------------------------------------------------


async def test_the_front_answers_while_the_core_loads(start_engine: Start, tmp_path: Path) -> None:
    (tmp_path / "model" / "switches").mkdir(parents=True)
    (tmp_path / "model" / "switches" / "hold_loading").touch()
    engine = start_engine()
    assert engine.get("/health")[0] == 200
    assert engine.get("/ready") == (503, "loading the model\n")
    assert await status_of_health(engine) == health_pb2.HealthCheckResponse.NOT_SERVING
    async with grpc.aio.insecure_channel(engine.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await inference_pb2_grpc.EngineStub(channel).GetModelInfo(pb.GetModelInfoRequest())
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    engine.switch("hold_loading", on=False)
    engine.wait_until_ready()


def test_the_phases_of_the_start_are_one_line_of_the_log(engine: EngineProcess) -> None:
    line = next(line for line in engine.log.splitlines() if line.startswith("pagelet engine: ready "))
    facts = json.loads(line.removeprefix("pagelet engine: ready "))
    phases = [facts[name] for name in ("spawn_s", "import_s", "load_s", "first_token_s")]
    assert 0 < sum(phases) <= facts["total_s"] + 0.005


def test_a_model_that_cannot_be_served_ends_the_engine_with_one_line(start_engine: Start, tmp_path: Path) -> None:
    (tmp_path / "model" / "switches").mkdir(parents=True)
    (tmp_path / "model" / "broken").touch()
    engine = start_engine()
    assert engine.wait() == 1
    assert engine.last_line == f"pagelet engine: {engine.model} is broken: wanted a model, found a fake"
    assert "Traceback" not in engine.log


def test_a_wrong_configuration_ends_the_engine_with_one_line(start_engine: Start) -> None:
    engine = start_engine(blockSize=-1)
    assert engine.wait() == 1
    assert "blockSize" in engine.last_line
    assert len(engine.log.splitlines()) == 1


def test_a_model_folder_that_is_not_there_ends_the_engine_with_one_line(tmp_path: Path) -> None:
    engine = EngineProcess(tmp_path, model=tmp_path / "nowhere")
    assert engine.wait() == 1
    assert str(tmp_path / "nowhere") in engine.last_line
    assert len(engine.log.splitlines()) == 1


@pytest.mark.parametrize("which", ["grpc", "ops"])
def test_a_port_that_is_taken_ends_the_engine_with_one_line(which: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        engine = EngineProcess(tmp_path, flags={f"--{which}-port": port})
        assert engine.wait() == 1
    assert f"127.0.0.1:{port}" in engine.last_line
    assert f"--{which}-port" in engine.last_line
    assert "Traceback" not in engine.log


# ---- drain -----------------------------------------------------------------------------------------------------------


async def test_drain_announces_itself_finishes_what_runs_and_takes_nothing_new(
    engine: EngineProcess, stub: inference_pb2_grpc.EngineStub
) -> None:
    gateway = await hung_request(engine, stub)
    draining = stub.Drain(pb.DrainRequest())
    await gateway.hear_until(lambda: gateway.last.draining)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await anext(aiter(stub.Generate(request("late"))))
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert dict(refused.value.trailing_metadata())["retry-after-ms"]
    assert engine.get("/ready")[0] == 503
    assert engine.get("/health")[0] == 200
    engine.switch("hold", on=False)
    assert (await draining).unfinished == 0
    await gateway.hear_until(lambda: gateway.finished("hung"))
    assert len(gateway.tokens("hung")) == HUNG_TOKENS


async def test_drain_answers_with_what_is_left_when_its_time_is_up(
    engine: EngineProcess, stub: inference_pb2_grpc.EngineStub
) -> None:
    await hung_request(engine, stub)
    assert (await stub.Drain(pb.DrainRequest(timeout_ms=50))).unfinished == 1


async def test_sigterm_finishes_what_runs_and_exits_zero(
    engine: EngineProcess, stub: inference_pb2_grpc.EngineStub
) -> None:
    core = engine.core_pid()
    gateway = await hung_request(engine, stub)
    engine.process.send_signal(signal.SIGTERM)
    await gateway.hear_until(lambda: gateway.last.draining)
    engine.switch("hold", on=False)
    await gateway.hear_until(lambda: gateway.finished("hung"))
    assert len(gateway.tokens("hung")) == HUNG_TOKENS
    assert await gateway.hear_the_end() is grpc.StatusCode.OK
    assert engine.wait() == 0
    assert is_gone(core)


async def test_sigterm_ends_what_does_not_finish_in_time(start_engine: Start) -> None:
    engine = start_engine(drainTimeoutS=1)
    engine.wait_until_ready()
    async with grpc.aio.insecure_channel(engine.target) as channel:
        gateway = await hung_request(engine, inference_pb2_grpc.EngineStub(channel))
        engine.process.send_signal(signal.SIGTERM)
        await gateway.hear_until(lambda: gateway.finished("hung"))
        assert gateway.updates("hung")[-1].error.code == grpc.StatusCode.UNAVAILABLE.value[0]
        assert await gateway.hear_the_end() is grpc.StatusCode.OK
    assert engine.wait() == 0
    assert "1 requests were cut short" in engine.last_line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_engine_that_loads_stops_when_told(number: signal.Signals, start_engine: Start, tmp_path: Path) -> None:
    (tmp_path / "model" / "switches").mkdir(parents=True)
    (tmp_path / "model" / "switches" / "hold_loading").touch()
    engine = start_engine()
    engine.ports()
    core = engine.core_pid()
    engine.process.send_signal(number)
    assert engine.wait() == 0
    assert engine.last_line == "pagelet engine: stopped"
    assert is_gone(core)


async def test_a_second_signal_ends_the_engine_at_once(
    engine: EngineProcess, stub: inference_pb2_grpc.EngineStub
) -> None:
    core = engine.core_pid()
    await hung_request(engine, stub)
    engine.process.send_signal(signal.SIGTERM)
    engine.wait_for(lambda: "draining" in engine.log, "the drain")

    def ended() -> bool:  # signals that come too soon count as the first one, forwarded
        engine.process.send_signal(signal.SIGINT)
        return engine.process.poll() is not None

    engine.wait_for(ended, "the end")
    assert engine.process.returncode == 128 + signal.SIGINT
    engine.wait_for(lambda: is_gone(core), "the core's end")


def test_an_engine_whose_log_cannot_be_written_serves_and_stops_as_ever(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    engine = EngineProcess(tmp_path, flags={"--ops-port": port}, log=Path("/dev/full"))

    def is_ready() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready") as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    wait_for(is_ready, lambda: "ready")
    engine.process.send_signal(signal.SIGTERM)
    assert engine.wait() == 0


# ---- death -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("death", "told"),
    [("die", "was killed by SIGKILL after step 1"), ("raise", "ValueError: the device is on fire")],
)
async def test_a_core_that_dies_ends_the_engine_with_one_line(
    death: str, told: str, engine: EngineProcess, stub: inference_pb2_grpc.EngineStub
) -> None:
    engine.switch(death)
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await anext(aiter(stub.Generate(request("unlucky"))))
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert engine.wait() == 1
    assert told in engine.last_line
    assert "1 requests in flight" in engine.last_line
    assert "after step 1" in engine.last_line


async def test_an_engine_that_computes_nothing_but_nan_ends_once_its_own_prompt_fails(
    engine: EngineProcess, stub: inference_pb2_grpc.EngineStub
) -> None:
    engine.switch("nan")
    codes = []
    while not codes or codes[-1] is grpc.StatusCode.INTERNAL:
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await anext(aiter(stub.Generate(request(f"request {len(codes)}"))))
        codes.append(ended.value.code())
    assert codes[-1] is grpc.StatusCode.UNAVAILABLE
    assert engine.wait() == 1
    assert "NaN or infinity for 33 samples in a row, one of them of the engine's own prompt" in engine.last_line


async def test_an_idle_core_that_dies_ends_the_engine(engine: EngineProcess) -> None:
    os.kill(engine.core_pid(), signal.SIGSEGV)
    assert engine.wait() == 1
    assert "SIGSEGV" in engine.last_line


async def test_a_front_that_is_killed_takes_its_core_with_it(engine: EngineProcess) -> None:
    core = engine.core_pid()
    engine.process.send_signal(signal.SIGKILL)
    engine.wait_for(lambda: is_gone(core), "the core's end")


async def test_a_core_that_loads_dies_with_its_front(start_engine: Start, tmp_path: Path) -> None:
    (tmp_path / "model" / "switches").mkdir(parents=True)
    (tmp_path / "model" / "switches" / "hold_loading").touch()
    engine = start_engine()
    engine.ports()
    core = engine.core_pid()
    engine.process.send_signal(signal.SIGKILL)
    engine.wait_for(lambda: is_gone(core), "the core's end")


async def test_health_follows_the_steps_and_recovers_with_them(start_engine: Start) -> None:
    engine = start_engine(stepTimeoutS=1)
    engine.wait_until_ready()
    async with grpc.aio.insecure_channel(engine.target) as channel:
        gateway = await hung_request(engine, inference_pb2_grpc.EngineStub(channel))
        engine.wait_for(lambda: engine.get("/health")[0] == 503, "the stall to show")
        assert "silent since step" in engine.get("/health")[1]
        assert engine.get("/ready")[0] == 503
        while await status_of_health(engine) != health_pb2.HealthCheckResponse.NOT_SERVING:
            pass
        engine.switch("hold", on=False)
        await gateway.hear_until(lambda: gateway.finished("hung"))
        engine.wait_until_ready()
        while await status_of_health(engine) != health_pb2.HealthCheckResponse.SERVING:
            pass


async def test_an_idle_core_that_is_stopped_shows_in_health(start_engine: Start) -> None:
    engine = start_engine(stepTimeoutS=1)
    engine.wait_until_ready()
    core = engine.core_pid()
    os.kill(core, signal.SIGSTOP)
    engine.wait_for(lambda: engine.get("/health")[0] == 503, "the stall to show")
    os.kill(core, signal.SIGCONT)
    engine.wait_until_ready()
