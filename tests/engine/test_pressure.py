"""The real engine with a tenth of the KV blocks that its load needs: slower, and nothing else."""

import random
from collections.abc import Iterator, Sequence

import pytest
from pagelet_api.config import EngineConfig
from pagelet_engine.core.costs import Costs
from pagelet_engine.core.engine import EngineCore
from pagelet_engine.core.load import LoadSnapshot
from pagelet_engine.core.request import FinishReason, Request
from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.scheduler import Scheduler
from pagelet_engine.worker.device.cpu import cpu_kit
from pagelet_engine.worker.device.execution import Alone
from pagelet_engine.worker.device.loading import load_leader
from pagelet_engine.worker.loaded import LoadedWorker
from pagelet_engine.worker.loading import load_worker

REQUESTS = 256
SEATS = 2 * REQUESTS
BLOCK_SIZE = 16
Answers = dict[tuple[str, int], tuple[list[int], FinishReason]]


CONFIG = EngineConfig(
    model_name="tiny",
    device="cpu",
    dtype="float32",
    block_size=BLOCK_SIZE,
    max_num_seqs=SEATS,
    kv_cache_bytes=64 << 20,
    host_cache_bytes=16 << 20,
)


@pytest.fixture(scope="module")
def loaded(tiny_llama) -> LoadedWorker:
    return load_worker(tiny_llama().folder, CONFIG)


@pytest.fixture(scope="module")
def packed(tiny_llama) -> LoadedWorker:
    """The worker that GPUs have, with the reference's ops."""
    return load_leader(tiny_llama().folder, CONFIG, Alone(), cpu_kit(CONFIG), lambda step, header: None)


def requests(vocab_size: int) -> Iterator[Request]:
    """Two tenants; prompts that begin alike; greedy and random; some with two samples, some urgent."""
    source = random.Random(0)
    beginnings = [tuple(source.choices(range(vocab_size), k=40)) for _ in range(3)]
    for number in range(REQUESTS):
        own = source.choices(range(vocab_size), k=source.randrange(4, 60))
        sampling = SamplingParams(
            n=source.choice((1, 1, 1, 2)),
            max_tokens=source.randrange(60, 150),
            temperature=source.choice((0.0, 1.0)),
            seed=number,
        )
        prompt = (*source.choice([(), *beginnings]), *own)
        yield Request(
            str(number), prompt, sampling, priority=source.choice((0, 0, 0, 1)), tenant=source.choice(("bank", "shop"))
        )


def serve(
    loaded: LoadedWorker,
    load: Sequence[Request],
    num_blocks: int,
    num_host_blocks: int = 0,
    *,
    depth: int = 1,
) -> tuple[Answers, LoadSnapshot, int]:
    """Every sample's answer, the load afterwards, and the most blocks that were in use."""
    scheduler = Scheduler(
        num_blocks=num_blocks,
        num_host_blocks=num_host_blocks,
        costs=Costs(loaded.costs),
        block_size=BLOCK_SIZE,
        max_model_len=loaded.model.max_model_len,
        max_batched_tokens=512,
        max_num_seqs=SEATS,
        max_queued=REQUESTS,
    )
    core = EngineCore(scheduler, loaded.worker, depth=depth)
    for request in load:
        core.add(request)
    answers: Answers = {}
    most = steps = 0
    while core.has_work:
        for update in core.step():
            for sample in update.samples:
                said, _ = answers.setdefault((update.request_id, sample.index), ([], FinishReason.ABORT))
                said.extend(sample.tokens)
                if sample.finish_reason:
                    answers[update.request_id, sample.index] = said, sample.finish_reason
        most = max(most, core.load().blocks_in_use)
        steps += 1
        if steps % 10 == 0:
            core.check()
    core.check()
    return answers, core.load(), most


@pytest.mark.parametrize("host_share", [0.0, 0.5], ids=["recomputed", "or copied"])
def test_with_a_tenth_of_the_blocks_every_answer_is_the_same(loaded, host_share):
    load = list(requests(loaded.model.vocab_size))
    ample, at_ease, needed = serve(loaded, load, loaded.num_blocks)
    assert at_ease.preemptions == 0
    pressed, under_pressure, _ = serve(loaded, load, needed // 10, int(host_share * needed // 10))
    assert under_pressure.preemptions > 100, under_pressure
    assert bool(under_pressure.blocks_loaded) == bool(host_share)
    assert pressed == ample
    assert all(reason is FinishReason.LENGTH for _, reason in pressed.values())
    assert (under_pressure.blocks_in_use, under_pressure.host_blocks_in_use) == (0, 0)


def test_two_steps_in_flight_change_no_answer(loaded, packed):
    """What is sampled late, taken back, copied beside a step and given to others one step later is as it was."""
    load = list(requests(loaded.model.vocab_size))[: REQUESTS // 4]
    wanted, _, needed = serve(loaded, load, loaded.num_blocks)
    pressed, under_pressure, _ = serve(packed, load, needed // 5, needed // 10, depth=2)
    assert under_pressure.preemptions > 10, under_pressure
    assert under_pressure.blocks_loaded
    assert pressed == wanted
