"""The service that the demo shows: `pagelet up` on the sample file, as a child process.

Owns starting, waiting, reading its metrics and stopping it; refuses to know what it is asked.
"""

import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pagelet_api import names

REPOSITORY = Path(__file__).resolve().parent.parent
SAMPLE = Path("manifests/samples/smollm2-local.yaml")
_STATE = REPOSITORY / "build" / "demo"
_START_LIMIT_S = 180
_STOP_LIMIT_S = 60
_POLL_S = 0.05


class ServiceFailed(Exception):
    """The message is the line to show; empty when `pagelet up` has said it already."""


@dataclass
class Service:
    """A running `pagelet up`; what it prints is passed on until it is ready."""

    url: str
    process: subprocess.Popen[str]
    started_s: float
    _ready: threading.Event = field(default_factory=threading.Event)

    def wait_until_ready(self) -> float:
        """Seconds since it was started. Raises ServiceFailed."""
        while True:
            if self.process.poll() is not None:
                raise ServiceFailed("")
            if time.monotonic() - self.started_s > _START_LIMIT_S:
                raise ServiceFailed(f"the service was not ready after {_START_LIMIT_S} s; its logs: {_STATE / 'logs'}")
            with suppress(OSError):  # nobody listens yet, or it answers 503
                urllib.request.urlopen(self.url + names.READY_PATH, timeout=5).close()
                break
            time.sleep(_POLL_S)
        self._ready.set()
        return time.monotonic() - self.started_s

    def engine_metrics(self) -> dict[str, float]:
        """The engine's numbers by name. It is found where the gateway finds it, among the ready pods."""
        hosts = (_STATE / "hosts").read_text().splitlines()
        address = next((line.split()[0] for line in hosts if f"-{names.COMPONENT_ENGINE}" in line), None)
        if address is None:
            raise ServiceFailed(f"no engine is ready any more; its logs: {_STATE / 'logs'}")
        url = f"http://{address}:{names.ENGINE_OPS_PORT}{names.METRICS_PATH}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        samples = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
        return {name.partition("{")[0]: float(value) for name, _, value in samples}

    def pass_on(self) -> None:
        """Print what the child prints; once it is ready, the demo has the word."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if not self._ready.is_set():
                print(f"  {line}", end="", flush=True)


@contextmanager
def running(port: int) -> Iterator[Service]:
    """`pagelet up` until the block ends, then Ctrl-C. Raises ServiceFailed when it does not stop cleanly."""
    print(f"$ pagelet up -f {SAMPLE} --port {port}")
    command = [sys.executable, "-m", "pagelet_operator.cli", "up", "-f", str(REPOSITORY / SAMPLE)]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--state-dir", str(_STATE)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a terminal's Ctrl-C reaches the demo alone, which then stops the service once
    )
    service = Service(f"http://127.0.0.1:{port}", process, time.monotonic())
    reader = threading.Thread(target=service.pass_on, daemon=True)
    reader.start()
    try:
        yield service
    finally:
        process.send_signal(signal.SIGINT)  # does nothing to a process that has ended
        try:
            process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(timeout=5)
    if process.returncode:
        raise ServiceFailed(f"pagelet up did not stop cleanly, exit code {process.returncode}; logs: {_STATE / 'logs'}")
