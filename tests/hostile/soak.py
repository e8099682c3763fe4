"""Does anything grow, leak or break when a service is used and misused for long?

`pagelet up` with the small real model, and clients that do everything at once: streams, whole answers, log
probabilities, disconnects, slow readers, bad bodies, hostile heads. Memory, open files and threads of all processes are
written every few seconds to build/soak.jsonl; at the end stand the first and the last quarter's medians beside each
other. It fails when one grew by more than its bound, when a request that was in order failed, when a process was
replaced, or when the engine still holds a request or a block.
"""

import argparse
import asyncio
import itertools
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

REPOSITORY = Path(__file__).resolve().parent.parent.parent
sys.path.append(str(REPOSITORY / "benchmarks"))  # a script: nothing installs them

from local_server import (  # noqa: E402
    MODEL,
    LocalServiceFailed,
    Server,
    ServerFailed,
    check_model,
    pagelet_up,
    service,
)
from pagelet_api import names  # noqa: E402
from process_clock import program  # noqa: E402
from report import print_table  # noqa: E402
from tqdm import tqdm  # noqa: E402

from .bodies import MODEL as NAME  # noqa: E402
from .footprint import BOUNDS, MIB, bound, footprints, read_samples, tree, trends, write_sample  # noqa: E402
from .soak_traffic import Visitor, WrongAnswer  # noqa: E402

SAMPLES = REPOSITORY / "build" / "soak.jsonl"
WARM_UP = 0.1
"""Of the whole time, and not judged: the first requests of each kind make what stays."""
SETTLE_LIMIT_S = 60
MOST_SHOWN = 20


@dataclass
class Outcome:
    """What came of all visits."""

    answers: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """By kind: how many ended how."""
    failures: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--sample-s", type=float, default=10.0, help="between two readings of the processes")
    parser.add_argument("--seed", type=int, default=20_261)
    options = parser.parse_args()
    try:
        check_model(MODEL)
        # Small steps, so that a core which shares its processors is not taken for a silent one; and a small pool, which
        # is soon all in use: pages of it that are touched for the first time would look like a leak.
        made = service(MODEL, maxModelLen=1024, maxNumSeqs=16, maxNumBatchedTokens=256, kvCacheMemory="64Mi")
        made["metadata"]["name"] = NAME
        with pagelet_up(made) as server:
            server.wait_until_ready()
            failures = asyncio.run(_soak(server, options))
    except ServerFailed as error:
        sys.exit(f"soak: {error}")
    for failure in failures[:MOST_SHOWN]:
        print(f"{failure:.500}", file=sys.stderr)
    if failures:
        sys.exit(f"soak: failed, {len(failures)} findings")


async def _soak(server: Server, options: argparse.Namespace) -> list[str]:
    """Returns what is wrong."""
    root = server.local.process.pid
    before = _lasting(root)
    outcome = Outcome()
    seconds = options.minutes * 60
    deadline_s = time.monotonic() + seconds
    numbers = itertools.count()
    visitors = [
        Visitor(server.url, random.Random(f"{options.seed} {number}"), numbers) for number in range(options.clients)
    ]
    SAMPLES.parent.mkdir(exist_ok=True)
    SAMPLES.unlink(missing_ok=True)
    sampling = asyncio.create_task(_sample(root, seconds, options.sample_s))
    await asyncio.gather(*(_visit(visitor, deadline_s, outcome) for visitor in visitors))
    await sampling
    replaced = [f"process {pid} ({name}) has ended" for pid, name in before.items() if pid not in _lasting(root)]
    held = await _held_by_engine(server)
    judged = [sample for sample in read_samples(SAMPLES) if sample[0] >= WARM_UP * seconds]
    return [*_report(outcome, judged, options), *outcome.failures, *replaced, *held]


async def _visit(visitor: Visitor, deadline_s: float, outcome: Outcome) -> None:
    while time.monotonic() < deadline_s:
        kind = visitor.choose()
        try:
            outcome.answers[kind][await visitor.visit(kind)] += 1
        except (WrongAnswer, httpx.HTTPError, OSError) as error:
            outcome.answers[kind]["failed"] += 1
            outcome.failures.append(f"{kind}: {type(error).__name__}: {error}")
            await asyncio.sleep(0.5)  # a server that is gone is not asked a thousand times
    await visitor.leave()


async def _sample(root: int, seconds: float, interval_s: float) -> None:
    began_s = time.monotonic()
    with tqdm(total=round(seconds), unit="s", leave=False) as bar:
        while (at_s := time.monotonic() - began_s) < seconds:
            found = await asyncio.to_thread(footprints, root)
            write_sample(SAMPLES, at_s, found)
            bar.update(round(at_s) - bar.n)
            await asyncio.sleep(min(interval_s, seconds - at_s))


def _lasting(root: int) -> dict[int, str]:
    """The processes that must last, with their programs: all but a gateway's own, which it may replace."""
    found = {}
    for pid in tree(root):
        found[pid] = program(pid)
    gateways = [pid for pid, name in found.items() if name == "pagelet_gateway"]
    replaceable = {below for gateway in gateways for below in tree(gateway)[1:]}
    return {pid: name for pid, name in found.items() if pid not in replaceable}


async def _held_by_engine(server: Server) -> list[str]:
    """What the engine still holds when all clients have gone, once it had time to notice."""
    wanted = (names.METRIC_REQUESTS_RUNNING, names.METRIC_REQUESTS_WAITING, names.METRIC_BLOCKS_IN_USE)
    deadline_s = time.monotonic() + SETTLE_LIMIT_S
    while True:
        try:
            metrics = await asyncio.to_thread(server.engine_metrics)
        except (LocalServiceFailed, OSError) as error:
            return [f"the engine is gone: {error}"]
        held = [f"the engine still holds {name} = {metrics[name]:g}" for name in wanted if metrics[name]]
        if not held or time.monotonic() > deadline_s:
            return held
        await asyncio.sleep(0.5)


def _report(outcome: Outcome, samples: Sequence[Any], options: argparse.Namespace) -> list[str]:
    """Print both tables; returns what grew too much."""
    print()
    rows = [
        (kind, f"{came.total()}", ", ".join(f"{count} x {word}" for word, count in came.most_common()))
        for kind, came in sorted(outcome.answers.items())
    ]
    print_table(("what clients did", "times", "what came of it"), rows)
    if len(samples) < 4:
        return [f"{len(samples)} samples are too few to be judged; wanted at least 4"]
    found = trends(samples)
    print(
        f"\n{options.minutes:g} minutes, {options.clients} clients; the largest of the first and of the last quarter\n"
    )
    columns = ["program"]
    for number in BOUNDS:
        columns += [number.replace("_bytes", " MiB"), "last", "per hour"]
    rows = []
    for name, numbers in found.items():
        row = [name]
        for number, trend in numbers.items():
            unit = MIB if number.endswith("_bytes") else 1
            row += [f"{value / unit:.1f}" for value in (trend.first, trend.last)] + [f"{trend.per_hour / unit:+.1f}"]
        rows.append(tuple(row))
    print_table(columns, rows)
    print(f"\n{SAMPLES}")
    return [
        f"{name}: {number} grew from {trend.first:.0f} to {trend.last:.0f}, more than its bound {bound(name, number)}"
        for name, numbers in found.items()
        for number, trend in numbers.items()
        if not trend.within_bound
    ]


if __name__ == "__main__":
    main()
