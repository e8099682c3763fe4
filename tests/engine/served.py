"""Serves many requests by a whole engine, and prints the bytes resident after each thousand, as JSON: a process of its
own, whose heap nothing else has filled and emptied before.

Time goes by in ticks, and copies cost what is said here: who gives way, and whether blocks are copied or computed
again, is then the same on every machine, however busy, and so is what is allocated when.
"""

import json
import random
import sys
from itertools import count
from pathlib import Path

from pagelet_api.config import EngineConfig
from pagelet_engine.core.costs import Costs, WorkerCosts
from pagelet_engine.core.engine import EngineCore
from pagelet_engine.core.request import Request
from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.scheduler import Scheduler
from pagelet_engine.worker.loading import load_worker

AT_ONCE = 128
TICK_S = 0.001
COPY_S = 0.0001


def resident_bytes() -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def serve(folder: Path, requests: int) -> list[int]:
    config = EngineConfig(
        model_name="tiny", device="cpu", dtype="float32", kv_cache_bytes=2 << 20, host_cache_bytes=1 << 20
    )
    loaded = load_worker(folder, config)
    scheduler = Scheduler(
        num_blocks=loaded.num_blocks,
        num_host_blocks=loaded.num_host_blocks,
        costs=Costs(WorkerCosts(COPY_S, overlaps=False)),
        block_size=config.block_size,
        max_model_len=loaded.model.max_model_len,
        max_batched_tokens=2048,
        max_num_seqs=AT_ONCE,
        max_queued=AT_ONCE,
        kv_events=True,
    )
    core = EngineCore(scheduler, loaded.worker, depth=1, clock_s=count(step=TICK_S).__next__)
    source = random.Random(0)
    waiting = sent = finished = 0
    resident: list[int] = []
    while finished < requests:
        while waiting < AT_ONCE and sent < requests:
            prompt = tuple(source.choices(range(loaded.model.vocab_size), k=source.randrange(1, 60)))
            sampling = SamplingParams(max_tokens=source.randrange(1, 6), temperature=0)
            core.add(Request(str(sent), prompt, sampling, tenant=str(sent % 50)))
            sent, waiting = sent + 1, waiting + 1
        ended = sum(update.finished for update in core.step().updates)
        core.take_kv_events()
        finished, waiting = finished + ended, waiting - ended
        if finished // 1000 > len(resident):
            resident.append(resident_bytes())
    return resident


if __name__ == "__main__":
    print(json.dumps(serve(Path(sys.argv[1]), int(sys.argv[2]))))
