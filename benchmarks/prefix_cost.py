"""What does the prefix cache cost when nobody shares anything, and what does it bring when many do?

Cost: the time inside its look-ups, names and entries (hashing included), in the core that serves 64 streams whose
prompts have nothing in common, beside the time of the steps. Gain: the time until 32 requests with one beginning of 512
tokens have their first token, cache on and off, in turns.
"""

import argparse
import functools
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from local_server import MODEL, ServerFailed, check_model
from pagelet_api.config import EngineConfig
from pagelet_engine.core.engine import EngineCore
from pagelet_engine.core.prefix_cache import PrefixCache
from pagelet_engine.core.request import Request
from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.scheduler import Scheduler
from pagelet_engine.worker.loaded import LoadedWorker
from pagelet_engine.worker.loading import load_worker
from report import machine, print_table, write_json

STREAMS, PROMPT_TOKENS, OUTPUT_TOKENS = 64, 240, 100
SHARING, SHARED_TOKENS, OWN_TOKENS = 32, 512, 32
AIM_PERCENT = 1.0
_TIMED = ("find", "count", "is_worth_a_wait", "begin", "leave", "store", "root", "names")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    try:
        check_model(options.model)
    except ServerFailed as error:
        sys.exit(f"prefix_cost: {error}")
    config = EngineConfig(model_name="model", device="cpu", kv_cache_bytes=1 << 30, max_num_seqs=STREAMS)
    _report(*_measure(load_worker(options.model, config), options.rounds))


def _measure(loaded: LoadedWorker, rounds: int) -> tuple[dict[str, float], dict[bool, list[float]]]:
    spent = _count_time(PrefixCache, _TIMED)
    costs: list[tuple[float, float, int]] = []
    waits: dict[bool, list[float]] = {True: [], False: []}
    for number in range(rounds + 1):  # the first warms up
        spent[0] = 0.0
        seconds, steps = _serve(loaded, number)
        costs.append((spent[0], seconds, steps))
        for cached, each in waits.items():
            each.append(_first_tokens_s(loaded, number, cached))
    inside, seconds, steps = (sum(values) for values in zip(*costs[1:], strict=True))
    cost = {"us_a_step": inside / steps * 1e6, "step_us": seconds / steps * 1e6, "percent": inside / seconds * 100}
    return cost, {cached: each[1:] for cached, each in waits.items()}


def _count_time(kind: type, names: Sequence[str]) -> list[float]:
    """Seconds spent inside these methods, those within each other once."""
    spent, depth = [0.0], [0]

    def timed(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def wrapper(*arguments: Any) -> Any:
            depth[0] += 1
            began_s = time.perf_counter()
            try:
                return method(*arguments)
            finally:
                depth[0] -= 1
                if not depth[0]:
                    spent[0] += time.perf_counter() - began_s

        return wrapper

    for name in names:
        setattr(kind, name, timed(getattr(kind, name)))
    return spent


def _core(loaded: LoadedWorker, cached: bool) -> EngineCore:
    scheduler = Scheduler(
        num_blocks=loaded.num_blocks,
        block_size=16,
        max_model_len=loaded.model.max_model_len,
        max_batched_tokens=2048,
        max_num_seqs=STREAMS,
        max_queued=STREAMS,
        prefix_caching=cached,
    )
    return EngineCore(scheduler, loaded.worker, depth=1)


def _tokens(loaded: LoadedWorker, seed: int, count: int) -> tuple[int, ...]:
    return tuple((seed * 7919 + 31 * position) % (loaded.model.vocab_size - 10) + 5 for position in range(count))


def _serve(loaded: LoadedWorker, round_number: int) -> tuple[float, int]:
    """Seconds and steps of 64 streams that share nothing."""
    core = _core(loaded, cached=True)
    sampling = SamplingParams(max_tokens=OUTPUT_TOKENS, temperature=0)
    for number in range(STREAMS):
        core.add(Request(str(number), _tokens(loaded, 1000 * round_number + number, PROMPT_TOKENS), sampling))
    began_s = time.perf_counter()
    steps = 0
    while core.has_work:
        core.step()
        steps += 1
    assert not core.load().prefix_hits, "these prompts share nothing"
    return time.perf_counter() - began_s, steps


def _first_tokens_s(loaded: LoadedWorker, round_number: int, cached: bool) -> float:
    """The mean time to first token of requests that arrive together and begin alike."""
    core = _core(loaded, cached)
    beginning = _tokens(loaded, 50_000 + round_number, SHARED_TOKENS)
    for number in range(SHARING):
        own = _tokens(loaded, 60_000 + number, OWN_TOKENS)
        core.add(Request(str(number), beginning + own, SamplingParams(max_tokens=1, temperature=0)))
    began_s = time.perf_counter()
    waits: list[float] = []
    while core.has_work:
        ended = sum(update.finished for update in core.step().updates)
        waits += [time.perf_counter() - began_s] * ended
    return sum(waits) / len(waits)


def _report(cost: dict[str, float], waits: dict[bool, list[float]]) -> None:
    facts = machine()
    print(f"\n{facts['processor']}, {facts['cores']} cores, load {facts['load_average']:.1f}\n")
    print_table(
        (f"{STREAMS} streams, nothing shared", "prefix cache, us a step", "a step, us", "share"),
        [("", f"{cost['us_a_step']:.0f}", f"{cost['step_us']:.0f}", f"{cost['percent']:.2f} %")],
    )
    print(f"\naim: less than {AIM_PERCENT} %\n")
    on, off = median(waits[True]), median(waits[False])
    print_table(
        (f"{SHARING} requests, {SHARED_TOKENS} of {SHARED_TOKENS + OWN_TOKENS} tokens shared", "mean first token, ms"),
        [("cache on", f"{on * 1e3:.0f}"), ("cache off", f"{off * 1e3:.0f}"), ("ratio", f"{off / on:.1f}")],
    )
    results = {"cost": cost, "first_token_s": {"on": waits[True], "off": waits[False]}}
    print(f"\n{write_json('prefix_cost', str(__doc__).splitlines()[0], results, ('pagelet',))}")


if __name__ == "__main__":
    main()
