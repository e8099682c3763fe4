"""What is measured, in which order, and for how long: each part in a process of its own, with the whole GPU.

A part tells each record as soon as it has it, so that one that is cut, or fails, leaves what it had. Time that a part
does not need goes to those behind it.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

from gpu.deadline import Deadline, OutOfTime
from gpu.scene import Scene, real_scene, tiny_scene
from pagelet_api.config import Quantization

_LAST_BYTES = 2000
_OWN_SHARE = 0.9
"""Of its time, after which a part should end by itself; at the end of it, it is stopped."""
_OUT_OF_TIME = 3
"""The exit code of a part that does."""

Measure = Callable[[Scene, Deadline], Iterator[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Part:
    seconds: float
    """That are kept for it."""
    load: Callable[[], Measure]
    """Imports what it needs."""
    on_cpu: bool = True
    """Whether a tiny scene has it."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a part has left."""

    records: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    limit_s: float = 0.0
    was_cut: bool = False
    failure: str = ""


def _decode_step(quantization: Quantization) -> Measure:
    from gpu.decode_step import measure

    return partial(measure, quantization=quantization)


def _throughput() -> Measure:
    from gpu.throughput import measure

    return measure


def _peer() -> Measure:
    from gpu.peer import measure

    return measure


def _startup() -> Measure:
    from gpu.startup import measure

    return measure


def _attention() -> Measure:
    from gpu.ops import ATTENTION, measure

    return partial(measure, modules=ATTENTION)


def _ops() -> Measure:
    from gpu.ops import OTHERS, measure

    return partial(measure, modules=OTHERS)


PARTS = {
    "decode-step": Part(110, partial(_decode_step, Quantization.NONE)),
    "throughput": Part(60, _throughput),
    "transformers": Part(90, _peer),
    "attention": Part(120, _attention, on_cpu=False),
    "startup": Part(55, _startup),
    "decode-step-fp8": Part(60, partial(_decode_step, Quantization.FP8), on_cpu=False),
    "other-kernels": Part(25, _ops, on_cpu=False),
}
"""520 s in all: nine minutes with what is around them."""


def run_part(name: str, until_s: float, tiny: bool, records: IO[str]) -> int:
    """In the part's own process: a line of JSON a record. Returns the exit code."""
    scene = tiny_scene() if tiny else real_scene()
    try:
        for record in PARTS[name].load()(scene, Deadline(until_s)):
            records.write(json.dumps(record) + "\n")
            records.flush()
    except OutOfTime:
        return _OUT_OF_TIME
    return 0


def run_parts(kept_s: Mapping[str, float], tiny: bool, started: Callable[[str, float], None]) -> dict[str, Found]:
    """One after the other. kept_s: for each. `started` hears of each, and how long it may take."""
    found = {}
    spare_s = 0.0
    for name, own_s in kept_s.items():
        limit_s = own_s + spare_s
        started(name, limit_s)
        found[name] = _run(name, limit_s, tiny)
        spare_s = max(0.0, limit_s - found[name].seconds)
    return found


def _run(name: str, limit_s: float, tiny: bool) -> Found:
    with tempfile.TemporaryDirectory(prefix="pagelet-benchmark-") as folder:
        records, log = Path(folder) / "records", Path(folder) / "log"
        began_s = time.monotonic()
        until_s = began_s + limit_s * _OWN_SHARE
        command = [sys.executable, str(Path(__file__).parent), "--part", name, "--until-s", str(until_s)]
        command += ["--records", str(records), *(["--tiny"] if tiny else [])]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = _OUT_OF_TIME
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # with the engines that it has started
                process.wait()
        lines = records.read_text().splitlines() if records.exists() else []
        last_words = log.read_text(errors="replace")[-_LAST_BYTES:]  # none of one that the system killed
        return Found(
            [json.loads(line) for line in lines],
            time.monotonic() - began_s,
            limit_s,
            code == _OUT_OF_TIME,
            f"ended with {code}\n{last_words}" if code not in (0, _OUT_OF_TIME) else "",
        )
