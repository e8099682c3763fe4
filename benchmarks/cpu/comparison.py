"""How fast is Pagelet on a CPU, beside other servers on the same machine and beside what the machine can do?

Pagelet is started with `pagelet up` and asked over HTTP through its gateway; any number of OpenAI-compatible servers
that run already are named as --peer NAME=URL or NAME=URL@PID. All of them do the same work in turns: prompts are token
ids, tokens differ by round and lengths do not, greedy, end-of-sequence ignored, streamed. With a process id, a server's
processor time and memory are told, and --stop-idle keeps it from disturbing the others' turns.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from client import WrongAnswer
from cpu import tables
from cpu.agreement import Agreement, compare
from cpu.contenders import Contender, NoContender, asleep
from cpu.footprint import Beyond, beyond_weights_and_pool, idle_cores
from cpu.limits import DOTS_OF_DTYPE, Limits, LimitsFailed, best_of, measured
from cpu.processes import Memory, NoProcess, ProcessTree
from cpu.rounds import Makers, Turn, turns
from cpu.subject import Subject
from cpu.summary import results
from local_server import MODEL, Server, ServerFailed, check_model, pagelet_up
from report import machine, write_json
from startup import Startup, measure_startup, print_startup
from tqdm import tqdm
from workload import mixed, shared_prefix, single

WORKLOADS: Makers = {"single": single, "mixed": mixed, "prefix": shared_prefix}
PAGELET = "pagelet"
QUESTION = "How fast is Pagelet on a CPU, beside other servers and beside what the machine can do?"


@dataclass(frozen=True, slots=True)
class Served:
    """What was measured while all servers ran."""

    turns: list[Turn]
    memory: dict[str, Memory]
    idle_cores: dict[str, float]
    beyond: Beyond | None
    agreements: list[Agreement]


def main() -> None:
    try:
        _run(_parser().parse_args())
    except (ServerFailed, WrongAnswer, NoContender, NoProcess, LimitsFailed) as error:
        sys.exit(f"benchmarks/cpu: {error}")


def _run(options: argparse.Namespace) -> None:
    check_model(options.model)
    subject = Subject.of(options.model, options.dtype, dict(options.set))
    peers = [Contender.parse(argument) for argument in options.peer]
    if not peers and options.without_pagelet:
        raise NoContender("wanted a server to measure: a --peer, or Pagelet")
    sleepers = peers if options.stop_idle else []
    with asleep(sleepers):
        limits = [_limits(subject)]
    served = _serve(subject, peers, sleepers, options)
    startup = None
    with asleep(sleepers):
        if options.startup_rounds and not options.without_pagelet:
            startup = measure_startup(subject.service, options.startup_rounds)
        limits.append(_limits(subject))
    _report(subject, served, startup, best_of(limits), options)


def _limits(subject: Subject) -> Limits:
    return measured(machine()["cores"], subject.weight_bytes)


def _serve(
    subject: Subject, peers: Sequence[Contender], sleepers: Sequence[Contender], options: argparse.Namespace
) -> Served:
    with ExitStack() as stack:
        ours = None if options.without_pagelet else stack.enter_context(_pagelet(subject))
        contenders = [*([_contender(ours)] if ours else []), *peers]
        done = _turns(contenders, sleepers, options)
        memory = {one.name: one.tree.memory() for one in contenders if one.tree}
        cores = idle_cores(contenders, options.idle_s) if options.idle_s else {}
        beyond = beyond_weights_and_pool(ours, subject) if ours else None
        agreements = _agreements(subject, contenders) if options.agreement else []
    return Served(done, memory, cores, beyond, agreements)


@contextmanager
def _pagelet(subject: Subject) -> Iterator[Server]:
    with pagelet_up(subject.service) as server:
        server.wait_until_ready()
        yield server


def _contender(server: Server, name: str = PAGELET) -> Contender:
    return Contender(name, server.url, server.model, ProcessTree(server.local.process.pid))


def _turns(contenders: Sequence[Contender], sleepers: Sequence[Contender], options: argparse.Namespace) -> list[Turn]:
    workloads = {name: WORKLOADS[name] for name in options.workloads}
    done = []
    with tqdm(total=(options.rounds + 1) * len(workloads) * len(contenders), unit="turn", leave=False) as bar:
        for turn in turns(contenders, workloads, options.rounds, sleepers):
            done.append(turn)
            bar.set_description(f"round {turn.round_number}, {turn.workload}, {turn.server}")
            bar.update()
    return done


def _agreements(subject: Subject, contenders: Sequence[Contender]) -> list[Agreement]:
    # Imports torch: not before everything else is measured, since threads and memory of it would be the client's.
    from cpu.fp32_reference import QUESTIONS, HuggingFaceInFp32

    reference = HuggingFaceInFp32(subject.folder)
    answers = [reference.answer(question) for question in QUESTIONS]
    found = [compare(contender, answers, reference.decode) for contender in contenders]
    if subject.dtype != "float32" and any(contender.name == PAGELET for contender in contenders):
        with _pagelet(subject.in_dtype("float32")) as server:
            found.append(compare(_contender(server, f"{PAGELET} in fp32"), answers, reference.decode))
    return found


def _report(
    subject: Subject, served: Served, startup: Startup | None, limits: Limits, options: argparse.Namespace
) -> None:
    allowed = {name: subject.limits_of(WORKLOADS[name](1), limits) for name in options.workloads}
    found = results(served.turns, served.turns[0].server, allowed)
    facts = machine()
    print(f"\n{facts['processor']}, {facts['cores']} cores, load {facts['load_average']:.1f}; {subject.dtype}", end="")
    print(f", medians of {options.rounds} rounds")
    tables.print_limits(limits, subject.weight_bytes)
    tables.print_allowed(allowed)
    tables.print_results(found, [dot for dot in DOTS_OF_DTYPE[subject.dtype] if dot in limits.flops_per_s])
    tables.print_processor_time(found)
    if served.memory:
        tables.print_memory(served.memory, served.idle_cores, options.idle_s)
    if served.beyond:
        tables.print_beyond(served.beyond)
    if served.agreements:
        tables.print_agreement(served.agreements)
    if startup:
        print()
        print_startup(startup)
    path = write_json(
        "cpu",
        QUESTION,
        {
            "dtype": subject.dtype,
            "rounds": options.rounds,
            "engine": dict(options.set),
            "limits": asdict(limits),
            "allowed": {name: {dot: asdict(limit) for dot, limit in dots.items()} for name, dots in allowed.items()},
            "results": [asdict(result) for result in found],
            "memory": {name: asdict(memory) for name, memory in served.memory.items()},
            "idle_cores": served.idle_cores,
            "beyond": asdict(served.beyond) | {"beyond_bytes": served.beyond.beyond_bytes} if served.beyond else None,
            "agreement": [asdict(agreement) for agreement in served.agreements],
            "startup": asdict(startup) if startup else None,
            "turns": [asdict(turn) for turn in served.turns],
        },
        ("pagelet", "torch", "transformers"),
    )
    print(f"\n{path}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", type=Path, default=MODEL, help="model folder; peers must have loaded the same weights"
    )
    parser.add_argument("--dtype", choices=tuple(DOTS_OF_DTYPE), default="bfloat16")
    parser.add_argument(
        "--peer", action="append", default=[], metavar="NAME=URL[@PID]", help="a running server; repeat"
    )
    parser.add_argument("--stop-idle", action="store_true", help="SIGSTOP peers (with a PID) while others are measured")
    parser.add_argument("--without-pagelet", action="store_true", help="the peers alone, the first against the others")
    parser.add_argument("--set", action="append", default=[], type=_field, metavar="FIELD=JSON", help="of spec.engine")
    parser.add_argument("--rounds", type=_positive, default=3, help="measured rounds, after one to warm up")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--idle-s", type=float, default=60, help="how long to watch everybody idle; 0: not at all")
    parser.add_argument("--startup-rounds", type=int, default=3, help="starts of Pagelet to time, beside import torch")
    parser.add_argument("--agreement", action="store_true", help="compare greedy answers with Hugging Face in fp32")
    return parser


def _positive(argument: str) -> int:
    number = int(argument)
    if number < 1:
        raise argparse.ArgumentTypeError(f"wanted 1 or more, found {number}")
    return number


def _field(argument: str) -> tuple[str, Any]:
    name, separator, value = argument.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"wanted FIELD=JSON such as maxNumBatchedTokens=512, found {argument!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
