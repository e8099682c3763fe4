"""The operator as a process of this machine, beside the cluster: for scenarios that kill, blind or replace it.

Owns the process and its log. What the operator does, the tests look for in the cluster.
"""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from e2e.cluster.waiting import wait_for

ENGINE_IMAGE = "pagelet-engine:0.1.0"
GATEWAY_IMAGE = "pagelet-gateway:0.1.0"
MODEL_IMAGE = "pagelet-operator:0.1.0"


class OperatorProcess:
    """`python -m pagelet_operator` with an admin's or a role's kubeconfig."""

    def __init__(
        self,
        kubeconfig: Path,
        log: Path,
        *,
        ops_port: int,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "pagelet_operator"),
    ) -> None:
        self.log = log
        self.ops_port = ops_port
        self._command = [
            *(sys.executable, *program),
            *("--engine-image", ENGINE_IMAGE, "--gateway-image", GATEWAY_IMAGE, "--model-image", MODEL_IMAGE),
            *("--ops-address", "127.0.0.1", "--ops-port", str(ops_port), "--lease-namespace", "default"),
            *arguments,
        ]
        self._environment = {**os.environ, "KUBECONFIG": str(kubeconfig), **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, timeout_s: float = 60) -> "OperatorProcess":
        """Start it and wait until its caches are filled."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)
        self.wait_until_ready(timeout_s)
        return self

    def wait_until_ready(self, timeout_s: float) -> None:
        """Until its caches are filled."""
        wait_for("the operator's caches", self._is_ready, timeout_s=timeout_s, account=self.last_words)

    def stop(self, timeout_s: float = 20) -> None:
        """SIGTERM; nothing happens if it has ended."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"the operator outlived SIGTERM by {timeout_s} s\n{self.last_words()}") from None

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def wait(self, timeout_s: float) -> int:
        """Until it ends by itself; its exit code."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def metric(self, name: str, label: str = "") -> float:
        """The sum of a metric over all labels, or over those with this one: reason="Conflict"."""
        lines = [line for line in self._get("/metrics").splitlines() if label in line]
        values = [float(line.rpartition(" ")[2]) for line in lines if re.match(rf"{re.escape(name)}(\{{.*\}})? ", line)]
        return sum(values)

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(f"  operator: {line[:600]}" for line in lines[-25:])

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"the operator ended with {self._process.returncode}\n{self.last_words()}")
        try:
            return bool(self._get("/readyz"))
        except OSError:
            return False

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ops_port}{path}", timeout=5) as answer:
            return answer.read().decode()
