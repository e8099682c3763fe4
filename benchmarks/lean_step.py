"""What does a step cost besides its kernels?

The real gateway, front and core, and a worker that sleeps for a step's time instead of computing. Many streaming
clients show what a step costs each process in processor time; a single one shows what is added to the time of its
tokens: between two steps, and from a step's result to the client that reads it.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from bisect import bisect
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from local_server import MODEL, REPOSITORY, ServerFailed, check_model
from process_clock import Used, used
from report import machine, print_table, write_json
from sleeping_engine import read_log
from sleeping_stack import MODEL_NAME, SleepingStack, sleeping_stack
from tqdm import tqdm

BENCHMARKS = REPOSITORY / "benchmarks"


@dataclass(frozen=True, slots=True)
class Round:
    """What some streams cost while all of them flowed."""

    used: dict[str, Used]
    client_cpu_s: float
    worker_cpu_s: float
    """A part of the core's."""
    steps: int
    events: int
    between_steps_s: list[float]
    delivery_s: list[float]
    """From a step's result to the first client, for each of its events."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL, help="whose tokenizer is used")
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--step-ms", type=float, default=15.0, help="of many streams; one alone has half of it")
    parser.add_argument("--tokens", type=int, default=256, help="a stream")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    try:
        _measure(options)
    except ServerFailed as error:
        sys.exit(f"lean_step: {error}")


def _measure(options: argparse.Namespace) -> None:
    check_model(options.model)
    shapes = {options.streams: options.step_ms / 1e3, 1: options.step_ms / 2e3}
    rounds: dict[int, list[Round]] = {streams: [] for streams in shapes}
    with ExitStack() as started, tqdm(total=len(shapes) * (options.rounds + 1), unit="run", leave=False) as bar:
        stacks = {
            n: started.enter_context(sleeping_stack(options.model, step_s, {"maxNumSeqs": n}))
            for n, step_s in shapes.items()
        }
        for number in range(options.rounds + 1):
            for streams, stack in stacks.items():
                found = _round(stack, streams, options.tokens)
                if number:  # the first warms up
                    rounds[streams].append(found)
                bar.update()
    _report(options, shapes, rounds)


# ---- running it ------------------------------------------------------------------------------------------------------


def _round(stack: SleepingStack, streams: int, tokens: int) -> Round:
    options = ["--streams", str(streams), "--max-tokens", str(tokens)]
    command = [sys.executable, str(BENCHMARKS / "streams.py"), stack.url, MODEL_NAME, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        before, events_before, from_s = _reading(stack, client.stdout.readline())
        after, events_after, until_s = _reading(stack, client.stdout.readline())
        last = client.stdout.read()
    if client.returncode:
        raise ServerFailed("the streams did not flow as they should")
    told = json.loads(last)
    log = read_log(stack.log)
    steps = [step for step in log if from_s < step.ended_s <= until_s]
    ended_s = [step.ended_s for step in steps]
    return Round(
        {part: after[part] - before[part] for part in stack.pids},
        told["cpu_s"],
        sum(step.worker_cpu_s for step in steps),
        len(steps),
        events_after - events_before,
        [later.began_s - earlier.ended_s for earlier, later in pairwise(steps)],
        [came_s - ended_s[bisect(ended_s, came_s) - 1] for came_s in told["arrivals_s"] if came_s > ended_s[0]],
    )


def _reading(stack: SleepingStack, line: str) -> tuple[dict[str, Used], int, float]:
    """What each process has used, and the client's count of events, now that it has said this line."""
    if not line:
        raise ServerFailed("the client ended early")
    return {part: used(pid) for part, pid in stack.pids.items()}, int(line.split()[1]), time.monotonic()


# ---- showing it ------------------------------------------------------------------------------------------------------


def _report(options: argparse.Namespace, shapes: dict[int, float], rounds: dict[int, list[Round]]) -> None:
    facts = machine()
    print(f"\n{facts['processor']}, {facts['cores']} cores, load {facts['load_average']:.1f}", end="")
    print(f", medians of {options.rounds} rounds of {options.tokens} tokens a stream\n")
    results = {str(streams): _summary(found) for streams, found in rounds.items()}
    for streams, step_s in shapes.items():
        _print(streams, step_s, results[str(streams)])
    path = write_json(
        "lean_step",
        "What does a step cost besides its kernels?",
        {"rounds": options.rounds, "tokens": options.tokens, "step_s": shapes, "streams": results},
        ("pagelet", "grpcio", "protobuf", "uvicorn", "uvloop"),
    )
    print(path)


def _summary(rounds: Sequence[Round]) -> dict[str, Any]:
    """Medians, in microseconds of processor time."""
    parts = {part: [round.used[part].cpu_s / round.steps for round in rounds] for part in rounds[0].used}
    worker = [round.worker_cpu_s / round.steps for round in rounds]
    parts["core"] = [core - own for core, own in zip(parts["core"], worker, strict=True)]
    sums = [sum(values) for values in zip(*parts.values(), strict=True)]
    parts = {**parts, "sum": sums, "client": [round.client_cpu_s / round.steps for round in rounds]}
    events_a_step = statistics.median(round.events / round.steps for round in rounds)
    return {
        "events_a_step": events_a_step,
        "cpu_us_a_step": {part: statistics.median(values) * 1e6 for part, values in parts.items()},
        "wakeups_a_step": {
            part: statistics.median(round.used[part].wakeups / round.steps for round in rounds)
            for part in rounds[0].used
        },
        "between_steps_us": _spread([value for round in rounds for value in round.between_steps_s]),
        "delivery_us": _spread([value for round in rounds for value in round.delivery_s]),
    }


def _spread(values_s: Sequence[float]) -> dict[str, float] | None:
    if not values_s:
        return None
    deciles = statistics.quantiles(values_s, n=10)
    return {"median": statistics.median(values_s) * 1e6, "p90": deciles[8] * 1e6}


def _print(streams: int, step_s: float, result: dict[str, Any]) -> None:
    print(
        f"{streams} streams, a step of {step_s * 1e3:g} ms:\n" if streams > 1 else f"1 stream, {step_s * 1e3:g} ms:\n"
    )
    wakeups = result["wakeups_a_step"]
    rows = [
        (
            "core, worker aside" if part == "core" else part,
            f"{cpu_us:.0f}",
            f"{cpu_us / streams:.1f}",
            f"{wakeups[part]:.1f}" if part in wakeups else "",
        )
        for part, cpu_us in result["cpu_us_a_step"].items()
    ]
    print_table(("", "CPU us a step", "CPU us a token", "wake-ups a step"), rows)
    print(f"\n{result['events_a_step']:.1f} events a step\n")
    named = {"between two steps": result["between_steps_us"], "result to client": result["delivery_us"]}
    spreads = [(name, f"{spread['median']:.0f}", f"{spread['p90']:.0f}") for name, spread in named.items() if spread]
    print_table(("", "median us", "p90 us"), spreads)
    print()


if __name__ == "__main__":
    main()
