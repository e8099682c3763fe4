"""`pagelet` as users run it, with fake parts in the containers: found first by PYTHONPATH, as in any other image."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

FAKE_PARTS = Path(__file__).with_name("fake_parts")
DEADLINE_S = 30

TINY_LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 256,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
    "dtype": "bfloat16",
}


@dataclass
class Desk:
    """A folder with a model and a file, and the commands that a user gives there."""

    folder: Path
    port: int
    environment: dict[str, str]
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def file(self) -> Path:
        return self.folder / "service.yaml"

    @property
    def model(self) -> Path:
        return self.folder / "model"

    def write(self, **spec: Any) -> None:
        """Write the user's file, with these fields of `spec` besides a small cache and one gateway."""
        fields = {
            "model": {"source": {"path": "model"}},
            "engine": {"kvCacheMemory": "1Mi"},
            "gateway": {"replicas": 1},
            **spec,
        }
        document = {"apiVersion": "pagelet.io/v1alpha1", "kind": "InferenceService", "metadata": {"name": "tiny"}}
        self.file.write_text(json.dumps({**document, "spec": fields}))

    def run(self, *arguments: str, said: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """One command to its end, with `said` on standard input."""
        return subprocess.run(
            [sys.executable, "-m", "pagelet_operator.cli", *arguments],
            env={**self.environment, **environment},
            cwd=self.folder,
            input=said,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )

    def up(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """`pagelet up` in the background; its output goes to `self.said`."""
        command = [sys.executable, "-m", "pagelet_operator.cli", "up", "-f", str(self.file), "--port", str(self.port)]
        with (self.folder / "said").open("w") as output:
            process = subprocess.Popen(
                [*command, *arguments],
                env={**self.environment, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.running.append(process)
        return process

    def up_to_the_end(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """`pagelet up` that ends by itself: its exit code and all it said."""
        code = self.up(*arguments, **environment).wait(DEADLINE_S)
        return code, self.said

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text()

    @property
    def journal(self) -> list[str]:
        path = self.folder / "journal"
        return path.read_text().splitlines() if path.exists() else []

    def pids(self) -> list[int]:
        return [int(line.split()[-1]) for line in self.journal if " started " in line]

    def let_engine_be_ready(self) -> None:
        (self.folder / "engine-ready").touch()

    def until(self, condition: Callable[[], bool], what: str) -> None:
        end_s = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < end_s, f"waited {DEADLINE_S} s for {what}; pagelet up said:\n{self.said}"
            time.sleep(0.02)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(TINY_LLAMA))
    (tmp_path / "model" / "manifest.sha256").write_text("")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(FAKE_PARTS), os.environ.get("PYTHONPATH")))),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "FAKE_JOURNAL": str(tmp_path / "journal"),
        "FAKE_ENGINE_READY": str(tmp_path / "engine-ready"),
    }
    desk = Desk(tmp_path, port, environment)
    desk.write()
    yield desk
    for process in desk.running:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()


def exists(pid: int) -> bool:
    """Whether the process runs; one that has ended and only waits to be collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
