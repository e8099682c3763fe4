"""What a bystander's record says of a span of time, and whether it keeps to the aims. Pure: no process, no clock."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from pagelet_api.gateway_memory import GATEWAY_MEMORY_BYTES

MIB = 2**20
AIM_FIRST_TOKEN, AIM_GAP, AIM_LAG_S = 2.0, 1.5, 0.1
"""The first two: times the undisturbed figure."""
MEMORY_BOUND_BYTES = GATEWAY_MEMORY_BYTES
"""Of a gateway's process and all below it."""
NO_ANSWER_S = 60
"""A figure of which there is no value at all counts as this long."""
COLUMNS = (
    *("attack", "TTFT ms", "beside it", "x", "p99 ms", "beside it", "gap p99 ms", "beside it", "x", "longest"),
    *("loop lag ms", "memory MiB", "sent", "beyond its aim"),
)


@dataclass
class Window:
    """What the bystander saw in a span of time; seconds."""

    first_token_s: list[float] = field(default_factory=list)
    """Of a chat without an answer: how long it had waited."""
    gaps_s: list[float] = field(default_factory=list)
    pings_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass
class Row:
    """One attack, all rounds together."""

    quiet: Window = field(default_factory=Window)
    loaded: Window = field(default_factory=Window)
    lag_s: list[float] = field(default_factory=list)
    """By the gateway's own metric, the most of each round; empty where it has none."""
    memory_bytes: int = 0
    attacks: list[dict[str, Any]] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    """Why a round was over early."""


def collect(seen: Mapping[str, Any], from_s: float, until_s: float, into: Window, *, whole: bool) -> None:
    """First tokens, gaps and pings that were waited for within this span, `whole`, or in a part of it."""

    def belongs(began_s: float, ended_s: float) -> bool:
        return (began_s >= from_s and ended_s < until_s) if whole else (began_s < until_s and ended_s > from_s)

    for chat in seen["chats"]:
        arrivals_s = chat["arrivals_s"]
        first_s = arrivals_s[0] if arrivals_s else chat["ended_s"]
        if belongs(chat["sent_s"], first_s):
            into.first_token_s.append(first_s - chat["sent_s"])
            into.failures += [chat["failure"]] if chat["failure"] else []
        if arrivals_s and not chat["complete"]:  # it still waits for its next token
            arrivals_s = [*arrivals_s, chat["ended_s"]]
        into.gaps_s += [after - before for before, after in pairwise(arrivals_s) if belongs(before, after)]
    into.pings_s += [answered - sent for sent, answered in seen["pings"] if belongs(sent, answered)]


def summary(row: Row) -> dict[str, Any]:
    quiet, loaded = (_figures(window) for window in (row.quiet, row.loaded))
    own = bool(row.lag_s)
    lag_s = max(row.lag_s) if own else loaded["ping_most_s"]
    beyond = [
        name
        for name, missed in {
            "TTFT": loaded["first_token_s"] > AIM_FIRST_TOKEN * quiet["first_token_s"],
            "gap": loaded["gap_p99_s"] > AIM_GAP * quiet["gap_p99_s"],
            "lag": lag_s > AIM_LAG_S,
            "memory": row.memory_bytes > MEMORY_BOUND_BYTES,
            f"{len(row.loaded.failures)} failed": row.loaded.failures,
            "gateway": row.ends,
        }.items()
        if missed
    ]
    return {
        "quiet": quiet,
        "loaded": loaded,
        "loop_lag_s": lag_s,
        "loop_lag_by": "metric" if own else "ping",
        "memory_bytes": row.memory_bytes,
        "attacks": row.attacks,
        "failures": row.loaded.failures,
        "ends": row.ends,
        "beyond": beyond,
    }


def _figures(window: Window) -> dict[str, float]:
    return {
        "chats": len(window.first_token_s),
        "first_token_s": statistics.median(window.first_token_s or [float(NO_ANSWER_S)]),
        "first_token_p99_s": _p99(window.first_token_s),
        "gap_p99_s": _p99(window.gaps_s),
        "longest_gap_s": max(window.gaps_s, default=float(NO_ANSWER_S)),
        "ping_most_s": max(window.pings_s, default=float(NO_ANSWER_S)),
    }


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)] if values else float(NO_ANSWER_S)


def cells(name: str, summary: Mapping[str, Any]) -> tuple[str, ...]:
    quiet, loaded = summary["quiet"], summary["loaded"]
    by_ping = "" if summary["loop_lag_by"] == "metric" else "~"
    return (
        name,
        f"{quiet['first_token_s'] * 1e3:.0f}",
        f"{loaded['first_token_s'] * 1e3:.0f}",
        f"{loaded['first_token_s'] / quiet['first_token_s']:.1f}",
        f"{quiet['first_token_p99_s'] * 1e3:.0f}",
        f"{loaded['first_token_p99_s'] * 1e3:.0f}",
        f"{quiet['gap_p99_s'] * 1e3:.0f}",
        f"{loaded['gap_p99_s'] * 1e3:.0f}",
        f"{loaded['gap_p99_s'] / quiet['gap_p99_s']:.1f}",
        f"{loaded['longest_gap_s'] * 1e3:.0f}",
        f"{by_ping}{summary['loop_lag_s'] * 1e3:.0f}",
        f"{summary['memory_bytes'] / MIB:.0f}",
        f"{sum(attack['sent'] for attack in summary['attacks'])}",
        ", ".join([*summary["ends"], *summary["beyond"]]) or "none",
    )
