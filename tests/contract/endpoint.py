"""A whole service on this machine, started as a user starts it: `pagelet up -f FILE`, and stopped with Ctrl-C.

Owns starting, finding and stopping; sees what a user sees: the URL, the hosts file, metrics, processes.
"""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_S = 120
STOP_S = 60


@dataclass(frozen=True)
class Endpoint:
    """A running service."""

    url: str
    state: Path
    process: subprocess.Popen[bytes]

    def engine_addresses(self) -> list[str]:
        """The ready engines, as the headless Service's DNS would show them."""
        hosts = (self.state / "hosts").read_text().splitlines()
        return sorted({line.split()[0] for line in hosts if "-engine" in line})

    def engine_metrics(self) -> dict[str, float]:
        """Sums of the first engine's samples by metric name, labels left out."""
        return metrics(f"http://{self.engine_addresses()[0]}:9001/metrics")

    def wait_for_metric(self, name: str, wanted: float, limit_s: float = 30) -> None:
        """Wait until the engine's metric has this value; fails saying what it has instead."""
        until_s = time.monotonic() + limit_s
        while (found := self.engine_metrics()[name]) != wanted:
            assert time.monotonic() < until_s, f"{name}: wanted {wanted}, still {found} after {limit_s} s"
            time.sleep(0.05)

    def engine_pid(self) -> int:
        """The engine's front, found among the processes below `pagelet up`."""
        parents: dict[int, int] = {}
        fronts = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                arguments = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue  # it has ended meanwhile
            if b"pagelet_engine.server" in arguments:
                fronts.append(int(folder.name))
        for front in fronts:
            ancestor = front
            while ancestor := parents.get(ancestor, 0):
                if ancestor == self.process.pid:
                    return front
        raise AssertionError("no engine runs below pagelet up")


def metrics(url: str) -> dict[str, float]:
    values: dict[str, float] = {}
    for line in urllib.request.urlopen(url, timeout=10).read().decode().splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            name = name.partition("{")[0]
            values[name] = values.get(name, 0.0) + float(value)
    return values


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
    port, state = _free_port(), folder / "state"
    command = [sys.executable, "-m", "pagelet_operator.cli", "up", "-f", str(file)]
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--state-dir", str(state)], stdout=log, stderr=subprocess.STDOUT
        )
    endpoint = Endpoint(f"http://127.0.0.1:{port}", state, process)
    try:
        _wait_until_ready(endpoint, folder)
        yield endpoint
        process.send_signal(signal.SIGINT)
        assert process.wait(STOP_S) == 0, f"pagelet up did not stop cleanly:\n{_said(folder)}"
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _wait_until_ready(endpoint: Endpoint, folder: Path) -> None:
    until_s = time.monotonic() + START_S
    while True:
        assert endpoint.process.poll() is None, f"pagelet up ended:\n{_said(folder)}"
        assert time.monotonic() < until_s, f"not ready after {START_S} s:\n{_said(folder)}"
        try:
            urllib.request.urlopen(f"{endpoint.url}/ready", timeout=5)
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        else:
            return


def _said(folder: Path) -> str:
    logs = sorted((folder / "state").glob("logs/*"))
    texts = [(folder / "up.log"), *logs]
    return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in texts)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
