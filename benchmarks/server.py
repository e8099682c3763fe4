"""Pagelet as a user runs it: `pagelet up -f FILE` as a child process, waited for, and stopped with Ctrl-C.

Knows how to start, find and stop it; refuses to know what is asked of it.
"""

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pagelet_api import names

REPOSITORY = Path(__file__).resolve().parent.parent
MODEL = REPOSITORY / "build" / "models" / "smollm2-135m-instruct"
START_LIMIT_S = 300
STOP_LIMIT_S = 60
_POLL_S = 0.02


class ServerFailed(Exception):
    """It cannot start, did not start, or did not stop; the message says why."""


@dataclass(frozen=True, slots=True)
class Server:
    url: str
    model: str
    started_s: float
    """`time.monotonic()` just before its process was made."""
    folder: Path
    """Its log, state and containers' logs."""
    process: subprocess.Popen[bytes]

    def engine_metrics(self) -> dict[str, float]:
        """The first engine's numbers by name, summed over labels."""
        hosts = (self.folder / "state" / "hosts").read_text().splitlines()
        address = next(line.split()[0] for line in hosts if f"-{names.COMPONENT_ENGINE}" in line)
        text = _get(f"http://{address}:{names.ENGINE_OPS_PORT}{names.METRICS_PATH}").decode()
        values: dict[str, float] = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                sample, _, value = line.rpartition(" ")
                name = sample.partition("{")[0]
                values[name] = values.get(name, 0.0) + float(value)
        return values

    def wait_until_ready(self) -> None:
        """Raises ServerFailed when it ends, or takes too long."""
        while True:
            if self.process.poll() is not None:
                raise ServerFailed(f"pagelet up ended with {self.process.returncode}:\n{self._last_words()}")
            if time.monotonic() - self.started_s > START_LIMIT_S:
                raise ServerFailed(f"pagelet up was not ready after {START_LIMIT_S} s:\n{self._last_words()}")
            try:
                _get(self.url + names.READY_PATH)
                return
            except OSError:  # nobody listens yet, or 503
                time.sleep(_POLL_S)

    def _last_words(self) -> str:
        logs = [self.folder / "up.log", *sorted((self.folder / "state").glob("logs/*"))]
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-2000:]}" for log in logs if log.is_file())


@contextmanager
def pagelet_up(service: Mapping[str, Any]) -> Iterator[Server]:
    """Start the service; yields at once, before it is ready. Raises ServerFailed when it does not stop cleanly."""
    with tempfile.TemporaryDirectory(prefix="pagelet-benchmark-") as name:
        folder = Path(name)
        (folder / "service.yaml").write_text(json.dumps(service))  # JSON is YAML
        port = _free_port()
        command = [sys.executable, "-m", "pagelet_operator.cli", "up", "-f", str(folder / "service.yaml")]
        options = ["--port", str(port), "--state-dir", str(folder / "state")]
        with (folder / "up.log").open("wb") as log:
            started_s = time.monotonic()
            process = subprocess.Popen([*command, *options], stdout=log, stderr=subprocess.STDOUT)
        server = Server(f"http://127.0.0.1:{port}", service["metadata"]["name"], started_s, folder, process)
        try:
            yield server
            process.send_signal(signal.SIGINT)
            if process.wait(STOP_LIMIT_S) != 0:
                raise ServerFailed(f"pagelet up ended with {process.returncode}:\n{server._last_words()}")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def check_model(folder: Path) -> None:
    """Raises ServerFailed when there is no model to serve."""
    if not (folder / "config.json").is_file():
        raise ServerFailed(f"{folder} is not a model folder; `make model` makes the default one")


def service(model: Path, **engine: Any) -> dict[str, Any]:
    """An InferenceService of one engine and one gateway on this machine's CPU; keywords are fields of spec.engine."""
    return {
        "apiVersion": f"{names.GROUP}/{names.VERSION}",
        "kind": "InferenceService",
        "metadata": {"name": "benchmark"},
        "spec": {
            "replicas": 1,
            "model": {"source": {"path": str(model)}},
            "engine": {"device": "cpu", "kvCacheMemory": "1Gi", "maxNumSeqs": 64, **engine},
            "gateway": {"replicas": 1},
        },
    }


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        body: bytes = answer.read()
        return body


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
