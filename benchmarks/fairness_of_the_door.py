"""What does one client notice of another that sends the gateway the worst it can?

The real gateway, front and core, and a worker that sleeps for a step's time, so that two cores suffice. For each attack
a gateway of its own serves a client that streams short chats: undisturbed for a while, then beside the attack, which
comes from another address. Printed are the client's time to first token and its gaps between tokens in both, how long
the gateway's loop took to come round, and the memory of its process and all below it.
"""

import argparse
import json
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from attacks import ATTACKS, TEMPLATE_BOMB
from door_figures import (
    AIM_FIRST_TOKEN,
    AIM_GAP,
    AIM_LAG_S,
    COLUMNS,
    MEMORY_BOUND_BYTES,
    MIB,
    NO_ANSWER_S,
    Row,
    cells,
    collect,
    summary,
)
from gateway_watch import MemoryGuard, loop_lag_buckets, most_lag_s
from local_server import MODEL, REPOSITORY, ServerFailed, check_model, is_ready
from report import machine, print_table, write_json
from sleeping_stack import MODEL_NAME, SleepingStack, sleeping_stack
from tqdm import tqdm

BENCHMARKS = REPOSITORY / "benchmarks"
WARM_UP_S = 1.5
ANSWERED = "answered\n"
_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL, help="whose tokenizer and chat template are used")
    parser.add_argument("--only", nargs="+", default=[""], metavar="NAME", help="attacks whose name has this in it")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each window")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--step-ms", type=float, default=20.0)
    parser.add_argument("--memory-limit-mib", type=int, default=4096, help="a gateway that takes more is killed")
    options = parser.parse_args()
    chosen = [name for name in ATTACKS if any(part in name for part in options.only)]
    if not chosen:
        sys.exit(f"fairness_of_the_door: no attack is called {options.only}; there are: {', '.join(ATTACKS)}")
    try:
        _measure(options, chosen)
    except ServerFailed as error:
        sys.exit(f"fairness_of_the_door: {error}")


def _measure(options: argparse.Namespace, chosen: Sequence[str]) -> None:
    check_model(options.model)
    rows = {name: Row() for name in chosen}
    # What is asked of the engine is never what limits: it has room for every attack at once.
    engine = {"maxNumSeqs": 512, "maxNumBatchedTokens": 32_768}
    with ExitStack() as started, tqdm(total=len(rows) * options.rounds, unit="attack", leave=False) as bar:
        folder = Path(started.enter_context(tempfile.TemporaryDirectory(prefix="pagelet-benchmark-")))
        _copy_model(options.model, folder)
        stack = started.enter_context(sleeping_stack(folder, options.step_ms / 1e3, engine))
        for number in range(options.rounds):
            for name, row in rows.items():
                bar.set_description(name)
                if number or name != chosen[0]:
                    stack.exchange_gateway()
                _round(stack, name, row, options)
                bar.update()
    _report(options, rows)


def _copy_model(model: Path, into: Path) -> None:
    """All but the weights, and a chat template with a bomb in it."""
    for name in _FILES:
        if (model / name).exists():
            shutil.copy(model / name, into)
    template = (model / "chat_template.jinja").read_text()
    (into / "chat_template.jinja").write_text(TEMPLATE_BOMB + template)


# ---- running it ------------------------------------------------------------------------------------------------------


def _round(stack: SleepingStack, name: str, row: Row, options: argparse.Namespace) -> None:
    with ExitStack() as running:
        attacker = running.enter_context(_program("attacker.py", stack.url, name))
        running.callback(attacker.kill)
        _line(attacker, f"the attack {name!r} could not be made")
        bystander = running.enter_context(_program("bystander.py", stack.url, MODEL_NAME))
        running.callback(bystander.kill)
        guard = running.enter_context(MemoryGuard(stack.gateway.pid, options.memory_limit_mib * MIB))
        time.sleep(WARM_UP_S)
        lag_before = loop_lag_buckets(stack.ops_url)
        quiet_s = time.monotonic()
        time.sleep(options.seconds)
        loaded_s = time.monotonic()
        _say(attacker)
        _wait(stack, attacker, options.seconds, until_answered=ATTACKS[name].ends_by_itself)
        ended_s = time.monotonic()
        _say(attacker)
        row.attacks.append(_last_line(attacker))
        attacker.kill()  # its connections end with it
        why = _recovers(stack, guard)
        lag = most_lag_s(lag_before, loop_lag_buckets(stack.ops_url))
        output, _ = bystander.communicate(timeout=2 * NO_ANSWER_S)
    seen = json.loads(output)
    collect(seen, quiet_s, loaded_s, row.quiet, whole=True)
    collect(seen, loaded_s, ended_s, row.loaded, whole=False)
    row.lag_s += [lag] if lag is not None else []
    row.memory_bytes = max(row.memory_bytes, guard.most_bytes)
    row.ends += [why] if why else []


def _program(name: str, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, str(BENCHMARKS / name), *words]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _say(program: "subprocess.Popen[str]") -> None:
    assert program.stdin is not None
    program.stdin.write("\n")
    program.stdin.flush()


def _line(program: "subprocess.Popen[str]", failure: str) -> str:
    assert program.stdout is not None
    line = program.stdout.readline()
    if not line:
        raise ServerFailed(failure)
    return line


def _last_line(attacker: "subprocess.Popen[str]") -> dict[str, Any]:
    line = _line(attacker, "the attack did not end")
    report: dict[str, Any] = json.loads(line if line != ANSWERED else _line(attacker, "the attack did not end"))
    return report


def _wait(stack: SleepingStack, attacker: "subprocess.Popen[str]", seconds: float, *, until_answered: bool) -> None:
    """So long, and on until the attack has had an answer, if it waits for one; or until the gateway has ended."""
    assert attacker.stdout is not None
    began_s = time.monotonic()
    while stack.gateway.poll() is None:
        lasted_s = time.monotonic() - began_s
        # A line that has come stays to be read: only whether there is one is asked.
        answered = bool(select.select([attacker.stdout], [], [], 0)[0])
        if lasted_s > seconds and (answered or not until_answered or lasted_s > NO_ANSWER_S):
            return
        time.sleep(0.05)


def _recovers(stack: SleepingStack, guard: MemoryGuard) -> str:
    """Wait until the gateway answers once the attack is over; returns why it does not."""
    deadline_s = time.monotonic() + NO_ANSWER_S
    while stack.gateway.poll() is None:
        if is_ready(stack.url):
            return ""
        if time.monotonic() > deadline_s:
            return f"no answer {NO_ANSWER_S} s after it"
        time.sleep(0.05)
    if guard.exceeded:
        return f"killed above {guard.limit_bytes // MIB} MiB"
    return f"ended with {stack.gateway.returncode}"


# ---- showing it ------------------------------------------------------------------------------------------------------


def _report(options: argparse.Namespace, rows: dict[str, Row]) -> None:
    facts = machine()
    print(f"\n{facts['processor']}, {facts['cores']} cores, load {facts['load_average']:.1f}", end="")
    print(f", {options.rounds} rounds, windows of {options.seconds:g} s, a step of {options.step_ms:g} ms\n")
    summaries = {name: summary(row) for name, row in rows.items()}
    print_table(COLUMNS, [cells(name, figures) for name, figures in summaries.items()])
    print(
        f"\naims: TTFT (median) at most {AIM_FIRST_TOKEN:g} x, gap p99 at most {AIM_GAP:g} x of undisturbed, loop lag",
        end="",
    )
    print(f" at most {AIM_LAG_S * 1e3:g} ms, memory at most {MEMORY_BOUND_BYTES // MIB} MiB, nothing refused or cut")
    for name, figures in summaries.items():
        print(f"\n{name}: {json.dumps(figures['attacks'])}")
        for what in sorted(set(figures["ends"] + figures["failures"])):
            print(f"    {what:.150}")
    path = write_json(
        "fairness_of_the_door",
        "What does one client notice of another that sends the gateway the worst it can?",
        {
            "seconds": options.seconds,
            "rounds": options.rounds,
            "step_s": options.step_ms / 1e3,
            "memory_bound_bytes": MEMORY_BOUND_BYTES,
            "attacks": summaries,
        },
        ("pagelet", "grpcio", "protobuf", "uvicorn", "uvloop", "tokenizers"),
    )
    print(f"\n{path}")


if __name__ == "__main__":
    main()
