"""The real model over three ranks: the same tokens as one rank computes, and an end with a reason when a rank dies."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from pagelet_api import inference_pb2 as pb
from pagelet_api import inference_pb2_grpc

from tests.engine.conftest import TinyModel

from .engine_process import EngineProcess, request
from .test_lifecycle import is_gone
from .test_ranks_lifecycle import DEATH_S

PROMPTS = {
    "code": [504, 9575, 282, 253, 355, 260, 253],
    "count": [33, 216, 34, 216, 35, 216, 36, 216, 37],
    "long": [1234 + 7 * number for number in range(90)],
}
NUM_TOKENS = 24

EIGHT_HEADS = {"num_attention_heads": 8, "num_key_value_heads": 2, "hidden_size": 64}
"""Four ranks hold each KV head twice."""

StartRanks = Callable[..., EngineProcess]


@pytest.fixture
def start_ranks(smollm2: Path, tmp_path: Path) -> Iterator[StartRanks]:
    """An engine of so many ranks, ready; all of them compare their block maps in every step."""
    started: list[EngineProcess] = []

    def start(size: int, model: Path = smollm2) -> EngineProcess:
        folder = tmp_path / f"of-{size}"
        folder.mkdir()
        engine = EngineProcess(
            folder,
            program=("-m", "pagelet_engine.server"),
            model=model,
            environment={"PAGELET_COMPARE_RANKS": "1"},
            device="cpu",
            dtype="float32",
            kvCacheBytes=2**28,
            tensorParallelSize=size,
        )
        started.append(engine)
        engine.wait_until_ready()
        return engine

    yield start
    for engine in started:
        engine.stop()


async def generate(
    stub: inference_pb2_grpc.EngineStub, name: str, count: int = NUM_TOKENS, vocab_size: int = 49_152
) -> list[int]:
    prompt = [token % vocab_size for token in PROMPTS[name]]
    call = stub.Generate(request(name, tokens=prompt, max_tokens=count, ignore_eos=True))
    return [token async for update in call for sample in update.samples for token in sample.token_ids]


async def generate_all(engine: EngineProcess, **settings: int) -> list[list[int]]:
    """All prompts at once."""
    async with grpc.aio.insecure_channel(engine.target) as channel:
        stub = inference_pb2_grpc.EngineStub(channel)
        return await asyncio.gather(*(generate(stub, name, **settings) for name in PROMPTS))


async def kill_under_load(engine: EngineProcess, rank: int) -> tuple[int, list[str]]:
    """(the rank's pid, what each client was told)"""
    pid = engine.rank_pid(rank)
    async with grpc.aio.insecure_channel(engine.target) as channel:
        stub = inference_pb2_grpc.EngineStub(channel)
        clients = [asyncio.create_task(generate(stub, name, 4_000)) for name in PROMPTS]
        while (await stub.GetLoad(pb.GetLoadRequest())).running < len(PROMPTS):
            await asyncio.sleep(0.01)
        os.kill(pid, signal.SIGKILL)
        endings = await asyncio.gather(*clients, return_exceptions=True)
    assert [getattr(ending, "code", type)() for ending in endings] == [grpc.StatusCode.UNAVAILABLE] * len(PROMPTS)
    return pid, [ending.details() for ending in endings if isinstance(ending, grpc.aio.AioRpcError)]


async def test_three_ranks_generate_what_one_does_and_end_when_one_of_them_is_killed(start_ranks: StartRanks) -> None:
    one = start_ranks(1)
    wanted = await generate_all(one)
    one.stop()
    engine = start_ranks(3)
    assert await generate_all(engine) == wanted
    began_s = time.monotonic()
    pid, told = await kill_under_load(engine, 2)
    assert engine.wait() == 1
    assert time.monotonic() - began_s < DEATH_S
    line = f"rank 2 of 3 (pid {pid}) was killed by SIGKILL in step "
    assert all(line in each for each in told)
    assert line in engine.last_line


@pytest.mark.parametrize(("architecture", "size"), [("LlamaForCausalLM", 2), ("MixtralForCausalLM", 4)])
async def test_ranks_that_hold_a_kv_head_twice_or_share_experts_generate_what_one_does(
    start_ranks: StartRanks, tiny_model: Callable[..., TinyModel], architecture: str, size: int
) -> None:
    tiny = tiny_model(architecture, **EIGHT_HEADS)
    engine = start_ranks(size, tiny.folder)
    found = await generate_all(engine, count=12, vocab_size=199)
    assert found == [tiny.greedy([token % 199 for token in prompt], 12) for prompt in PROMPTS.values()]


async def test_ranks_end_when_rank_0_is_killed(start_ranks: StartRanks) -> None:
    engine = start_ranks(3)
    others = [engine.rank_pid(rank) for rank in (1, 2)]
    began_s = time.monotonic()
    _, told = await kill_under_load(engine, 0)
    assert engine.wait() == 1
    assert time.monotonic() - began_s < DEATH_S
    assert told == ["the engine's core was killed by SIGKILL"] * len(PROMPTS)
    assert all(map(is_gone, others))
