"""`pagelet up` as a child process, for the demo, the benchmarks and the tests of the whole.

Owns starting it as a user does, finding its engines as a gateway does, reading their metrics, and stopping it with
Ctrl-C. Sees what a user sees, and refuses to know what the service is asked.
"""

import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from pagelet_api import names
from prometheus_client.parser import text_string_to_metric_families

STOP_LIMIT_S = 60
_POLL_S = 0.05
_LAST_BYTES = 3000


class LocalServiceFailed(Exception):
    """It ended, was not ready in time, or did not stop cleanly; the message has its last words."""


@dataclass
class LocalService:
    """A running `pagelet up`."""

    url: str
    state: Path
    """Its state folder: the hosts file, and the containers' logs."""
    process: subprocess.Popen[str]
    started_s: float = field(default_factory=time.monotonic)
    """`time.monotonic()` when its process was made."""

    def is_ready(self) -> bool:
        return is_ready(self.url)

    def wait_until_ready(self, limit_s: float) -> float:
        """Seconds since it was started. Raises LocalServiceFailed."""
        while not self.is_ready():
            if self.process.poll() is not None:
                raise LocalServiceFailed(f"pagelet up ended with {self.process.returncode}:\n{self.last_words()}")
            if time.monotonic() - self.started_s > limit_s:
                raise LocalServiceFailed(f"pagelet up was not ready after {limit_s:.0f} s:\n{self.last_words()}")
            time.sleep(_POLL_S)
        return time.monotonic() - self.started_s

    def engine_addresses(self) -> list[str]:
        """The ready engines, as the headless Service's DNS would show them."""
        hosts = (self.state / "hosts").read_text().splitlines()
        return sorted({line.split()[0] for line in hosts if f"-{names.COMPONENT_ENGINE}" in line})

    def engine_metrics(self) -> dict[str, float]:
        """The first ready engine's samples by name, summed over labels. Raises LocalServiceFailed if there is none."""
        addresses = self.engine_addresses()
        if not addresses:
            raise LocalServiceFailed(f"no engine is ready:\n{self.last_words()}")
        return metrics(f"http://{addresses[0]}:{names.ENGINE_OPS_PORT}{names.METRICS_PATH}")

    def stop(self) -> None:
        """Ctrl-C. Raises LocalServiceFailed when it does not end cleanly in time; afterwards it has ended anyway."""
        try:
            self.process.send_signal(signal.SIGINT)  # does nothing to a process that has ended
            code = self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            raise LocalServiceFailed(f"pagelet up did not stop in {STOP_LIMIT_S} s:\n{self.last_words()}") from None
        finally:
            self.kill()
        if code:
            raise LocalServiceFailed(f"pagelet up ended with {code}:\n{self.last_words()}")

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def last_words(self) -> str:
        """The end of every container's log."""
        logs = [log for log in sorted((self.state / "logs").glob("*")) if log.is_file()]
        return "\n".join(f"--- {log}\n{log.read_text(errors='replace')[-_LAST_BYTES:]}" for log in logs)


def start(
    file: Path, state: Path, *, port: int = 0, output: int | IO[bytes] | None = None, own_session: bool = False
) -> LocalService:
    """Start `pagelet up` on the file. `port` 0: any. `own_session`: a terminal's Ctrl-C does not reach it."""
    port = port or free_port()
    command: Sequence[str] = [sys.executable, "-m", "pagelet_operator.cli", "up", "-f", str(file)]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--state-dir", str(state)],
        stdout=output,
        stderr=None if output is None or output == subprocess.PIPE else subprocess.STDOUT,
        text=True,
        start_new_session=own_session,
    )
    return LocalService(f"http://127.0.0.1:{port}", state, process)


def is_ready(url: str) -> bool:
    """Whether the gateway there says so."""
    try:
        urllib.request.urlopen(url + names.READY_PATH, timeout=5).close()
    except OSError:  # nobody listens yet, or it answers 503
        return False
    return True


def metrics(url: str) -> dict[str, float]:
    """The samples that are served there by name, added up over labels."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    values: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            values[sample.name] = values.get(sample.name, 0.0) + sample.value
    return values


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
