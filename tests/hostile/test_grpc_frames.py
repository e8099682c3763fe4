"""A front with a scripted worker under calls that no honest gateway makes: it answers all of them, ends none of its
work, and goes on serving.

Bounds on time are several times what an idle machine shows, so that a busy one changes nothing.
"""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from pagelet_api import inference_pb2 as pb
from pagelet_api import inference_pb2_grpc

from tests.engine.server.engine_process import DEADLINE_S, EngineProcess, request
from tests.hostile.grpc_frames import Call, calls

AT_ONCE = 4
MAX_FRONT_CPU_S = 1.0
"""Of one call. The worst message that is parsed takes a few tens of milliseconds; the loop stands still meanwhile."""
MAX_PROBE_S = 5.0
MAX_GROWTH_BYTES = 300 * 2**20

ALLOWED = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.UNIMPLEMENTED,
}
"""Neither of these is an accident of the engine, nor a call that did not end."""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineProcess]:
    engine = EngineProcess(tmp_path)
    engine.wait_until_ready()
    yield engine
    engine.stop()


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def end_of(channel: grpc.Channel, call: Call) -> tuple[grpc.StatusCode, str]:
    """Make the call, read to its end. By the blocking client: the other one takes a write after the end for a fault."""
    made = channel.stream_stream(f"/pagelet.engine.v1.Engine/{call.method}")(iter(call.messages), timeout=DEADLINE_S)
    try:
        for _ in made:
            pass
    except grpc.RpcError:
        pass
    return made.code(), made.details()


class Probes:
    """Asks the ops port all the while; keeps the slowest answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.slowest_s = 0.0
        self.count = 0

    async def run(self) -> None:
        while True:
            began_s = time.monotonic()
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(b"GET /health HTTP/1.1\r\n\r\n")
            assert b" 200 " in await reader.read()
            writer.close()
            self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
            self.count += 1
            await asyncio.sleep(0.01)


async def feed(engine: EngineProcess, seed: int, count: int) -> None:
    """Make the calls, a few at a time, and check what they cost; then that the engine is as it was."""
    front = engine.process.pid
    probes = Probes(engine.ports()[1])
    probing = asyncio.create_task(probes.run())
    before_bytes, before_s = resident_bytes(front), cpu_s(front)
    waiting = list(calls(seed, count))[::-1]
    failures: list[str] = []

    def make() -> None:
        with grpc.insecure_channel(engine.target) as channel:
            while waiting:
                call = waiting.pop()
                code, details = end_of(channel, call)
                if code not in ALLOWED:
                    sent = [message[:80] for message in call.messages]
                    failures.append(f"{call.kind}, {call.method}: {code.name} {details}; {sent}")

    await asyncio.gather(*(asyncio.to_thread(make) for _ in range(AT_ONCE)))
    probing.cancel()
    spent_s, grown_bytes = cpu_s(front) - before_s, resident_bytes(front) - before_bytes
    print(
        f"{count} calls: front {spent_s:.1f} s of CPU and {grown_bytes / 2**20:.0f} MiB more; "
        f"{probes.count} probes, the slowest {1000 * probes.slowest_s:.0f} ms"
    )
    assert not failures, "\n".join(failures)
    assert probes.slowest_s < MAX_PROBE_S
    assert grown_bytes < MAX_GROWTH_BYTES
    await check_as_it_was(engine)


async def check_as_it_was(engine: EngineProcess) -> None:
    """It serves, holds no block, and its table of requests is empty."""
    assert engine.process.poll() is None, engine.log
    assert "Traceback" not in engine.log
    engine.wait_for(lambda: engine.metric("vllm:num_requests_running") == 0, "nothing running")
    engine.wait_for(lambda: engine.metric("pagelet:kv_blocks_in_use") == 0, "no block in use")
    async with grpc.aio.insecure_channel(engine.target) as channel:
        stub = inference_pb2_grpc.EngineStub(channel)
        updates = [update async for update in stub.Generate(request("good", max_tokens=2))]
        assert [token for update in updates for s in update.samples for token in s.token_ids] == [3, 4]
        # What a drain waits for is the table itself.
        assert (await stub.Drain(pb.DrainRequest(timeout_ms=1000))).unfinished == 0


async def test_a_front_outlives_any_calls_and_serves_as_before(engine: EngineProcess) -> None:
    await feed(engine, seed=1, count=600)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(2, 12))
async def test_a_front_outlives_thousands_of_calls(seed: int, engine: EngineProcess) -> None:
    await feed(engine, seed, count=4_000)


async def test_no_message_of_the_worst_kinds_holds_the_front_for_long(engine: EngineProcess) -> None:
    with grpc.insecure_channel(engine.target) as channel:
        for call in calls(seed=0, count=8 * 60):
            if call.kind == "huge counts":
                before_s = cpu_s(engine.process.pid)
                code, _ = end_of(channel, call)
                assert code in ALLOWED
                spent_s = cpu_s(engine.process.pid) - before_s
                assert spent_s < MAX_FRONT_CPU_S, f"{len(call.messages[-1])} bytes: {call.messages[-1][:40]!r}"
    await check_as_it_was(engine)
