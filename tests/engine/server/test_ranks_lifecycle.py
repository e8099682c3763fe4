"""How an engine of several ranks starts and ends: every way of it, as real processes that compute nothing."""

import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from pagelet_api import inference_pb2_grpc
from pagelet_engine.worker.ranks.watch import BEAT_S

from .engine_process import EngineProcess, request
from .test_lifecycle import is_gone
from .test_session import Gateway

Start = Callable[..., EngineProcess]

DEATH_S = 10.0
"""An engine whose rank has died has ended then, on a machine that is busy with other tests."""
LIMIT_S = 3


@pytest.fixture
def engine(start_engine: Start) -> EngineProcess:
    """A ready engine of three ranks, of the test's own."""
    engine = start_engine(tensorParallelSize=3, stepTimeoutS=LIMIT_S)
    engine.wait_until_ready()
    return engine


def switched(folder: Path, *names: str) -> None:
    """Switches that are on before the engine starts."""
    (folder / "model" / "switches").mkdir(parents=True)
    for name in names:
        (folder / "model" / "switches" / name).touch()


async def generate(engine: EngineProcess, name: str = "some", tokens: int = 20) -> list[int]:
    async with grpc.aio.insecure_channel(engine.target) as channel:
        call = inference_pb2_grpc.EngineStub(channel).Generate(request(name, max_tokens=tokens))
        return [token async for update in call for sample in update.samples for token in sample.token_ids]


async def generate_until_the_end(engine: EngineProcess) -> str:
    """What a client is told that waits for an answer which does not come."""
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await generate(engine, "unlucky", 40_000)
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    return ended.value.details() or ""


async def test_every_rank_computes_every_step_and_leaves_in_good_order(engine: EngineProcess) -> None:
    assert await generate(engine) == list(range(3, 23))
    ranks = [engine.rank_pid(rank) for rank in (0, 1, 2)]
    engine.process.send_signal(signal.SIGTERM)
    assert engine.wait() == 0
    assert engine.last_line == "pagelet engine: stopped"
    assert {path.name for path in engine.model.glob("left-*")} == {"left-1", "left-2"}
    assert all(map(is_gone, ranks))


@pytest.mark.parametrize("rank", [1, 2])
async def test_a_rank_that_is_killed_in_a_step_ends_the_engine_and_clients_are_told_which(
    rank: int, engine: EngineProcess
) -> None:
    engine.switch("hold-1")
    pid = engine.rank_pid(rank)
    async with grpc.aio.insecure_channel(engine.target) as channel:
        gateway = await Gateway(inference_pb2_grpc.EngineStub(channel)).hello()
        await gateway.generate(request("unlucky", max_tokens=9))
        step = await hear_of_a_hung_step(engine)
        os.kill(pid, signal.SIGKILL)
        killed_s = time.monotonic()
        await gateway.hear_until(lambda: gateway.finished("unlucky"))
        line = f"rank {rank} of 3 (pid {pid}) was killed by SIGKILL in step {step}"
        assert line in gateway.updates("unlucky")[-1].error.message
    assert engine.wait() == 1
    assert time.monotonic() - killed_s < DEATH_S
    assert line in engine.last_line


async def hear_of_a_hung_step(engine: EngineProcess) -> int:
    """The number of the step in which rank 1 is held; rank 2 has gone through."""
    ended = [engine.model / f"step-{rank}" for rank in (1, 2)]
    engine.wait_for(lambda: int(ended[1].read_text()) > int(ended[0].read_text()), "rank 1 to be held")
    return int(ended[1].read_text())


def test_an_idle_rank_that_is_killed_ends_the_engine(engine: EngineProcess) -> None:
    pid = engine.rank_pid(2)
    os.kill(pid, signal.SIGSEGV)
    assert engine.wait() == 1
    assert f"rank 2 of 3 (pid {pid}) was killed by SIGSEGV after step 1" in engine.last_line


async def test_a_rank_that_is_frozen_in_a_step_ends_the_engine_within_the_limit(engine: EngineProcess) -> None:
    pid = engine.rank_pid(2)
    os.kill(pid, signal.SIGSTOP)
    began_s = time.monotonic()
    told = await generate_until_the_end(engine)
    assert LIMIT_S - BEAT_S < time.monotonic() - began_s < LIMIT_S + DEATH_S
    assert re.search(rf"rank 2 of 3 \(pid {pid}\) hangs in step 2: silent for \d s, at most 3 are allowed", told)
    assert engine.wait() == 1
    assert "rank 2 of 3" in engine.last_line


def test_an_idle_rank_that_is_frozen_ends_the_engine_within_the_limit(engine: EngineProcess) -> None:
    os.kill(engine.rank_pid(1), signal.SIGSTOP)
    assert engine.wait() == 1
    assert "hangs after step 1: silent for" in engine.last_line


async def test_a_rank_that_lives_but_does_not_end_its_step_ends_the_engine(engine: EngineProcess) -> None:
    pid = engine.rank_pid(1)
    engine.switch("hold-1")
    told = await generate_until_the_end(engine)
    assert re.search(r"step 2 hangs: not ended after \d s, at most 3 are allowed", told)
    assert f"rank 1 of 3 (pid {pid}) is in it" in told
    assert "rank 2" not in told


async def test_a_rank_that_fails_ends_the_engine_with_its_own_words(engine: EngineProcess) -> None:
    pid = engine.rank_pid(2)
    engine.switch("raise-2")
    line = f"rank 2 of 3 (pid {pid}) failed in step 2: ValueError: the device is on fire"
    assert line in await generate_until_the_end(engine)
    assert engine.wait() == 1
    assert line in engine.last_line
    assert "Traceback" in engine.log


@pytest.mark.parametrize("which", ["front", "core"])
def test_ranks_end_with_whoever_started_them(which: str, engine: EngineProcess) -> None:
    ranks = [engine.rank_pid(rank) for rank in (1, 2)]
    os.kill(engine.process.pid if which == "front" else engine.core_pid(), signal.SIGKILL)
    engine.wait_for(lambda: all(map(is_gone, ranks)), "the end of the ranks")


def test_a_rank_that_cannot_load_ends_the_engine_with_the_reason(start_engine: Start, tmp_path: Path) -> None:
    switched(tmp_path, "broken-1", "hold_loading-2")
    engine = start_engine(tensorParallelSize=3)
    assert engine.wait() == 1
    assert re.search(r"rank 1 of 3 \(pid \d+\) failed while the model was loaded: .* is broken", engine.last_line)
    assert "Traceback" not in engine.log


def test_a_rank_that_is_killed_while_it_loads_ends_the_engine(start_engine: Start, tmp_path: Path) -> None:
    switched(tmp_path, "hold_loading-1")
    engine = start_engine(tensorParallelSize=2)
    pid = engine.wait_for(lambda: started_rank(engine), "rank 1")
    os.kill(pid, signal.SIGKILL)
    assert engine.wait() == 1
    assert re.search(r"rank 1 of 2 .*was killed by SIGKILL", engine.last_line)


def started_rank(engine: EngineProcess) -> int:
    try:
        return engine.rank_pid(1)
    except (IndexError, ValueError):
        return 0


# ---- several pods ------------------------------------------------------------------------------------------------


class Pods:
    """Two pods of two ranks on this machine, as LeaderWorkerSet tells them of each other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[EngineProcess] = []
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]

    def start(self, pod: int, **config: object) -> EngineProcess:
        folder = self._folder / f"pod-{pod}"
        folder.mkdir()
        group = {"LWS_LEADER_ADDRESS": "localhost", "LWS_GROUP_SIZE": "2", "LWS_WORKER_INDEX": str(pod)}
        model = self._folder / "model"
        (model / "switches").mkdir(parents=True, exist_ok=True)
        config = {"tensorParallelSize": 4, "stepTimeoutS": LIMIT_S, "drainTimeoutS": 5, **config}
        flags = {"--ranks-port": self._port}
        self._started.append(EngineProcess(folder, model=model, environment=group, flags=flags, **config))
        return self._started[-1]

    def stop(self) -> None:
        for engine in self._started:
            engine.stop()


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Pods]:
    pods = Pods(tmp_path)
    yield pods
    pods.stop()


def probe_port(pod: EngineProcess) -> int:
    return int(pod.wait_for(lambda: re.search(r"listening: probes on \S+:(\d+)", pod.log), "the probes' port")[1])


async def test_two_pods_make_one_engine_and_end_together(pods: Pods) -> None:
    leader = pods.start(0)
    leader.wait_for(lambda: "waiting for ranks 2 and 3 of 4 since" in leader.log, "the leader to say whom it waits for")
    follower = pods.start(1)
    probe_port(follower)
    leader.wait_until_ready()
    assert await generate(leader) == list(range(3, 23))
    follower.process.send_signal(signal.SIGTERM)
    follower.wait_for(lambda: "stopping when the leader has drained" in follower.log, "the news of the signal")
    assert await generate(leader, "other") == list(range(3, 23))
    leader.process.send_signal(signal.SIGTERM)
    assert leader.wait() == 0
    assert follower.wait() == 0
    assert follower.last_line == "pagelet engine: stopped: the leader has ended"


async def test_a_pod_that_is_killed_ends_the_engine_and_a_leader_that_is_killed_ends_the_pod(pods: Pods) -> None:
    follower = pods.start(1)
    follower.wait_for(
        lambda: re.search(r"rank 2: waiting for rank 0 at localhost:\d+ since \d+ s", follower.log), "word of the wait"
    )
    leader = pods.start(0)
    leader.wait_until_ready()
    os.kill(leader.process.pid, signal.SIGKILL)
    assert follower.wait() == 1
    assert "rank 0 is gone" in follower.log
    assert "the ranks of this pod end with it" in follower.last_line


async def test_the_death_of_a_pod_ends_the_engine(pods: Pods) -> None:
    leader, follower = pods.start(0), pods.start(1)
    leader.wait_until_ready()
    os.kill(follower.process.pid, signal.SIGKILL)
    assert leader.wait() == 1
    assert re.search(r"rank [23] of 4 \(pod 1, pid \d+\) is gone .*after step 1", leader.last_line)


def test_a_pod_with_another_configuration_is_refused(pods: Pods) -> None:
    leader = pods.start(0)
    follower = pods.start(1, blockSize=32)
    assert follower.wait() == 1
    wanted = r"configuration: wanted sha256:\w+ as on rank 0, found sha256:\w+ on rank [23]; give all ranks the same"
    assert re.search(rf"rank 0 at localhost:\d+ refuses this rank: {wanted}", follower.log)
    assert re.search(rf"refused a rank at 127.0.0.1: {wanted}", leader.log)


def test_ranks_that_cannot_be_spread_over_the_pods_are_refused_with_the_sum(pods: Pods) -> None:
    for pod in (0, 1):
        engine = pods.start(pod, tensorParallelSize=3)
        assert engine.wait() == 1
        assert "3 ranks cannot be spread evenly over 2 pods (LWS_GROUP_SIZE): 3 = 2 × 1 + 1" in engine.last_line
