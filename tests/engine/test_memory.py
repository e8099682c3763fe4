"""An engine that has served twenty thousand requests holds no more memory than one that has served ten thousand."""

import random
from pathlib import Path

from pagelet_api.config import EngineConfig
from pagelet_engine.core.costs import Costs
from pagelet_engine.core.engine import EngineCore
from pagelet_engine.core.request import Request
from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.scheduler import Scheduler
from pagelet_engine.worker.loading import load_worker

REQUESTS = 20_000
AT_ONCE = 128
NOISE_BYTES = 3 << 20
"""What an allocator gives and takes back."""


def resident_bytes() -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def test_memory_does_not_grow_with_requests(tiny_llama):
    config = EngineConfig(
        model_name="tiny", device="cpu", dtype="float32", kv_cache_bytes=2 << 20, host_cache_bytes=1 << 20
    )
    loaded = load_worker(tiny_llama(num_hidden_layers=1).folder, config)
    scheduler = Scheduler(
        num_blocks=loaded.num_blocks,
        num_host_blocks=loaded.num_host_blocks,
        costs=Costs(loaded.costs),
        block_size=config.block_size,
        max_model_len=loaded.model.max_model_len,
        max_batched_tokens=2048,
        max_num_seqs=AT_ONCE,
        max_queued=AT_ONCE,
        kv_events=True,
    )
    core = EngineCore(scheduler, loaded.worker, depth=1)
    source = random.Random(0)
    waiting = sent = finished = 0
    resident: list[int] = []
    while finished < REQUESTS:
        while waiting < AT_ONCE and sent < REQUESTS:
            prompt = tuple(source.choices(range(loaded.model.vocab_size), k=source.randrange(1, 60)))
            sampling = SamplingParams(max_tokens=source.randrange(1, 6), temperature=0)
            core.add(Request(str(sent), prompt, sampling, tenant=str(sent % 50)))
            sent, waiting = sent + 1, waiting + 1
        ended = sum(update.finished for update in core.step().updates)
        core.take_kv_events()
        finished, waiting = finished + ended, waiting - ended
        if finished // 1000 > len(resident):
            resident.append(resident_bytes())
    half = resident[len(resident) // 2 :]
    assert max(half) - half[0] < NOISE_BYTES, f"resident bytes after each 1,000 requests: {resident}"
