"""A whole service on this machine, started as a user starts it: `pagelet up -f FILE`, and stopped with Ctrl-C.

Owns starting, finding and stopping; sees what a user sees: the URL, the hosts file, metrics, processes.
"""

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_service import LocalService, start

START_S = 120


@dataclass(frozen=True)
class Endpoint:
    """A running service."""

    local: LocalService

    @property
    def url(self) -> str:
        return self.local.url

    @property
    def process(self) -> subprocess.Popen[str]:
        return self.local.process

    def engine_metrics(self) -> dict[str, float]:
        """Sums of the first engine's samples by metric name, labels left out."""
        return self.local.engine_metrics()

    def wait_for_metric(self, name: str, wanted: float, limit_s: float = 30) -> None:
        """Wait until the engine's metric has this value; fails saying what it has instead."""
        until_s = time.monotonic() + limit_s
        while (found := self.engine_metrics()[name]) != wanted:
            assert time.monotonic() < until_s, f"{name}: wanted {wanted}, still {found} after {limit_s} s"
            time.sleep(0.05)

    def engine_pid(self) -> int:
        """The engine's front."""
        return self._process(b"pagelet_engine.server")

    def rank_pid(self, rank: int) -> int:
        """Of a rank other than 0, of an engine that has several."""
        return self._process(b"pagelet_engine.worker.ranks", b"--rank", str(rank).encode())

    def _process(self, *words: bytes) -> int:
        """Found among the processes below `pagelet up`, by words of its command."""
        parents: dict[int, int] = {}
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                arguments = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue  # it has ended meanwhile
            if set(words) <= set(arguments):
                found.append(int(folder.name))
        for process in found:
            ancestor = process
            while ancestor := parents.get(ancestor, 0):
                if ancestor == self.process.pid:
                    return process
        raise AssertionError(f"no {b' '.join(words).decode()} runs below pagelet up")


def manifest(model: Path, **engine: Any) -> dict[str, Any]:
    """An InferenceService that serves `model` with these fields of spec.engine."""
    return {
        "apiVersion": "pagelet.io/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": "smollm2"},
        "spec": {
            "model": {"source": {"path": str(model)}},
            "engine": {"device": "cpu", "kvCacheMemory": "512Mi", "drainTimeout": "30s", **engine},
            "gateway": {"replicas": 1},
        },
    }


@contextmanager
def serve(service: Mapping[str, Any], folder: Path) -> Iterator[Endpoint]:
    """Run `pagelet up` until the block ends; a service that does not stop cleanly is a failure."""
    file = folder / "service.yaml"
    file.write_text(json.dumps(service))  # JSON is YAML
    with (folder / "up.log").open("wb") as log:
        local = start(file, folder / "state", output=log)
    try:
        local.wait_until_ready(START_S)
        yield Endpoint(local)
        local.stop()
    finally:
        local.kill()
