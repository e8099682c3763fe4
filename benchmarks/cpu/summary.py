"""Turns → figures: medians and spreads, ratios of turns of one round, shares of the machine's limit. Pure."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from cpu.rounds import Turn


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure of several rounds."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        values = list(values)
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Limit:
    """What the machine allows for a workload."""

    tokens_per_s: float
    first_token_s: float
    """Of the first step that draws."""


@dataclass(frozen=True, slots=True)
class Result:
    """One server on one workload, over all rounds that count."""

    workload: str
    server: str
    tokens_per_s: Spread
    first_token_s: Spread
    longest_gap_s: Spread
    client_cpu_s: Spread
    server_cpu_s: Spread | None
    others_cpu_s: Spread
    shares: dict[str, float]
    """Its tokens a second over what the machine allows, by the instruction set of that limit."""
    ratio: Spread | None
    """How many times as fast as this server the first one is; None: it is the first one."""
    first_token_ratio: Spread | None
    """How many times as long this server takes to the first token."""
    wrong_lengths: int
    """Answers, in all rounds, that were not as long as they should be."""


Limits = Mapping[str, Mapping[str, Limit]]
"""By workload, by instruction set."""


def speed_of(turn: Turn) -> float:
    """One stream: after its first token. Several: all tokens over the time of the whole."""
    measured = turn.measured
    return measured.decode_tokens_per_s if len(measured.timings) == 1 else measured.output_tokens_per_s


def results(turns: Sequence[Turn], first: str, limits: Limits) -> list[Result]:
    """One a workload and server, as they first appear; `first` is the server that the others are compared to."""
    counted = [turn for turn in turns if turn.round_number > 0]
    pairs = dict.fromkeys((turn.workload, turn.server) for turn in turns)
    ordered = sorted(pairs, key=lambda pair: ([name for name, _ in pairs].index(pair[0]), pair[1] != first))
    return [_result(workload, server, counted, first, limits.get(workload, {})) for workload, server in ordered]


def _result(workload: str, server: str, turns: Sequence[Turn], first: str, limits: Mapping[str, Limit]) -> Result:
    own = _of(turns, workload, server)
    ours = _of(turns, workload, first)

    def compared(figure: Callable[[Turn, Turn], float]) -> Spread | None:
        return None if server == first or not ours else Spread.of(map(figure, ours, own))

    speed = Spread.of(map(speed_of, own))
    cpu_s = [turn.server_cpu_s for turn in own if turn.server_cpu_s is not None]
    return Result(
        workload,
        server,
        tokens_per_s=speed,
        first_token_s=Spread.of(turn.measured.first_token_s for turn in own),
        longest_gap_s=Spread.of(turn.measured.longest_gap_s for turn in own),
        client_cpu_s=Spread.of(turn.measured.cpu_s for turn in own),
        server_cpu_s=Spread.of(cpu_s) if cpu_s else None,
        others_cpu_s=Spread.of(turn.others_cpu_s for turn in own),
        shares={dot: speed.median / limit.tokens_per_s for dot, limit in limits.items()},
        ratio=compared(lambda our, their: speed_of(our) / speed_of(their)),
        first_token_ratio=compared(lambda our, their: their.measured.first_token_s / our.measured.first_token_s),
        wrong_lengths=sum(len(turn.wrong_lengths) for turn in own),
    )


def _of(turns: Sequence[Turn], workload: str, server: str) -> list[Turn]:
    """By round."""
    found = [turn for turn in turns if (turn.workload, turn.server) == (workload, server)]
    return sorted(found, key=lambda turn: turn.round_number)
