"""What the processes of a service hold: memory, open files and threads, read from /proc and written down over time.

Owns reading, and the judgement of two spans of time. Refuses to know what the processes do.
"""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pagelet_api.gateway_memory import KEPT_PART, LANES
from process_clock import children, program

_KIB = 1024
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Footprint:
    """Of all processes of a tree that run the same program."""

    processes: int = 0
    pss_bytes: int = 0
    """Resident, each page divided by the number of processes that map it."""
    rss_bytes: int = 0
    fds: int = 0
    threads: int = 0

    def __add__(self, other: "Footprint") -> "Footprint":
        mine, others = asdict(self), asdict(other)
        return Footprint(**{name: mine[name] + others[name] for name in mine})


@dataclass(frozen=True, slots=True)
class Growth:
    """A bound: as much may come once, and as much every hour."""

    once: float
    per_hour: float

    def allows(self, grown: float, hours: float) -> bool:
        return grown <= self.once + self.per_hour * hours


WORKERS = "pagelet_gateway.workers.fork_server"
BOUNDS = {
    "pss_bytes": Growth(64 * MIB, 16 * MIB),
    "fds": Growth(16, 4),
    "threads": Growth(8, 1),
}


@dataclass(frozen=True, slots=True)
class Trend:
    """One number of one program: the largest of the first and of the last quarter, and what lies between them. Not
    medians: a host that takes idle pages back makes memory fall and rise by hundreds of megabytes."""

    first: float
    last: float
    per_hour: float
    within_bound: bool


def footprints(root: int) -> dict[str, Footprint]:
    """By program, from `root` downwards; processes that end meanwhile are left out."""
    found: dict[str, Footprint] = {}
    for pid in tree(root):
        with suppress(OSError):
            name = program(pid)
            found[name] = found.get(name, Footprint()) + _footprint(pid)
    return found


def tree(root: int) -> list[int]:
    """`root` and all its descendants."""
    pids = [root]
    for pid in pids:
        with suppress(OSError):
            pids += children(pid)
    return pids


def write_sample(into: Path, at_s: float, found: Mapping[str, Footprint]) -> None:
    line = {"at_s": round(at_s, 1), "programs": {name: asdict(of) for name, of in found.items()}}
    with into.open("a") as file:
        file.write(json.dumps(line) + "\n")


def read_samples(path: Path) -> list[tuple[float, dict[str, Footprint]]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [(line["at_s"], {name: Footprint(**of) for name, of in line["programs"].items()}) for line in lines]


def trends(samples: Sequence[tuple[float, Mapping[str, Footprint]]]) -> dict[str, dict[str, Trend]]:
    """By program and number. Needs four samples."""
    quarter = len(samples) // 4
    assert quarter, f"wanted at least 4 samples, found {len(samples)}"
    first, last = samples[:quarter], samples[-quarter:]
    hours = (statistics.median(at_s for at_s, _ in last) - statistics.median(at_s for at_s, _ in first)) / 3600
    programs = sorted({name for _, found in samples for name in found})
    return {
        name: {
            number: _trend(_series(first, name, number), _series(last, name, number), hours, bound(name, number))
            for number in BOUNDS
        }
        for name in programs
    }


def _series(samples: Iterable[tuple[float, Mapping[str, Footprint]]], name: str, number: str) -> list[float]:
    return [float(getattr(found.get(name, Footprint()), number)) for _, found in samples]


def bound(name: str, number: str) -> Growth:
    """Workers are replaced when they keep more than a part of their memory, so that much may come once."""
    growth = BOUNDS[number]
    if (name, number) != (WORKERS, "pss_bytes"):
        return growth
    return Growth(growth.once + sum(lane.memory_bytes // KEPT_PART for lane in LANES), growth.per_hour)


def _trend(first: Sequence[float], last: Sequence[float], hours: float, bound: Growth) -> Trend:
    began, ended = max(first), max(last)
    return Trend(began, ended, (ended - began) / hours, bound.allows(ended - began, hours))


def _footprint(pid: int) -> Footprint:
    folder = Path(f"/proc/{pid}")
    sizes = {"Pss": 0, "Rss": 0}
    for line in (folder / "smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in sizes:
            sizes[name] = int(rest.split()[0]) * _KIB
    fds, threads = (sum(1 for _ in (folder / part).iterdir()) for part in ("fd", "task"))
    return Footprint(1, sizes["Pss"], sizes["Rss"], fds, threads)
