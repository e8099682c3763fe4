"""A real gateway before an engine whose worker sleeps: started, waited for, ended; the gateway can be exchanged.

Owns the processes, their configuration files and their ports. Refuses to know what is asked of them.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local_server import START_LIMIT_S, ServerFailed, free_port, is_ready, metrics
from pagelet_api import names
from process_clock import children

MODEL_NAME = "sleeper"
_ENGINE = Path(__file__).resolve().parent / "sleeping_engine.py"
_END_LIMIT_S = 10


@dataclass
class SleepingStack:
    """Running processes, and the log of the engine's steps."""

    folder: Path
    model: Path
    step_s: float
    engine_config: Mapping[str, Any] = field(default_factory=dict)
    """Of engine.json, beyond what is set here."""
    engine_options: tuple[str, ...] = ()
    """More arguments of sleeping_engine.py."""

    def __post_init__(self) -> None:
        self._http, self._ops, self._grpc, self._engine_ops = (free_port() for _ in range(4))
        self.url = f"http://127.0.0.1:{self._http}"
        self.ops_url = f"http://127.0.0.1:{self._ops}"
        self.log = self.folder / "steps"
        (self.folder / "hosts").write_text("127.0.0.1 engines\n")
        engine = {"modelName": MODEL_NAME, "device": "cpu", **self.engine_config}
        gateway = {"modelName": MODEL_NAME, "engineHost": "engines", "enginePort": self._grpc}
        (self.folder / "engine.json").write_text(json.dumps(engine))
        (self.folder / "gateway.json").write_text(json.dumps(gateway))
        self.front = self._start(
            *(_ENGINE, "--step-s", self.step_s, "--log", self.log, *self.engine_options),
            *("--model", self.model, "--config", self.folder / "engine.json"),
            *("--grpc-port", self._grpc, "--ops-port", self._engine_ops),
        )
        self.start_gateway()

    def start_gateway(self) -> None:
        self.gateway = self._start(
            *("-m", "pagelet_gateway", "--config", self.folder / "gateway.json"),
            *("--http-port", self._http, "--ops-port", self._ops),
        )

    def wait_until_ready(self) -> None:
        """Raises ServerFailed when a process ends, or it takes too long."""
        deadline_s = time.monotonic() + START_LIMIT_S
        while not is_ready(self.url):
            if time.monotonic() > deadline_s or self.front.poll() is not None or self.gateway.poll() is not None:
                raise ServerFailed(f"gateway and engine did not become ready:\n{self.last_lines()}")
            time.sleep(0.05)

    def exchange_gateway(self) -> None:
        """A new gateway process on the same ports, ready; the old one is killed."""
        self.gateway.kill()
        self.gateway.wait()
        self.start_gateway()
        self.wait_until_ready()

    @property
    def pids(self) -> dict[str, int]:
        (core,) = children(self.front.pid)
        return {"gateway": self.gateway.pid, "front": self.front.pid, "core": core}

    def engine_metrics(self) -> dict[str, float]:
        """The engine's numbers by name, summed over labels."""
        return metrics(f"http://127.0.0.1:{self._engine_ops}{names.METRICS_PATH}")

    def last_lines(self) -> str:
        """The end of what the processes logged."""
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    def end(self) -> None:
        for process in (self.gateway, self.front):
            process.terminate()
        for process in (self.gateway, self.front):
            try:
                process.wait(_END_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, *words: object) -> subprocess.Popen[bytes]:
        environment = os.environ | {names.HOSTS_FILE_ENV: str(self.folder / "hosts")}
        with (self.folder / "log").open("ab") as errors:
            return subprocess.Popen([sys.executable, *map(str, words)], stderr=errors, env=environment)


@contextmanager
def sleeping_stack(
    model: Path, step_s: float, engine_config: Mapping[str, Any], *engine_options: str
) -> Iterator[SleepingStack]:
    """Gateway, front and core of an engine that sleeps `step_s` per step, ready to serve. Raises ServerFailed."""
    with tempfile.TemporaryDirectory(prefix="pagelet-benchmark-") as name, ExitStack() as running:
        stack = SleepingStack(Path(name), model, step_s, engine_config, engine_options)
        running.callback(stack.end)
        stack.wait_until_ready()
        yield stack
