"""An engine process under test: its folder, its switches, its ports, its log."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pagelet_api import inference_pb2 as pb

FAKE_ENGINE = Path(__file__).with_name("fake_engine.py")
DEADLINE_S = 60.0
"""For anything that should happen in a moment, on a machine that is busy with other tests."""

T = TypeVar("T")

TOKENIZER = b"t" * (2 * 2**20 + 5)


class EngineProcess:
    """Started on construction; end it with `stop`."""

    def __init__(
        self,
        folder: Path,
        *,
        program: Sequence[str] = (str(FAKE_ENGINE),),
        model: Path | None = None,
        flags: Mapping[str, object] | None = None,
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
        **config: object,
    ) -> None:
        self.model = model or _fake_model(folder)
        self.switches = self.model / "switches"
        self._log_file = log or folder / "log"
        config_file = folder / "config.json"
        config_file.write_text(json.dumps({"modelName": "fake", **config}))
        given = {"--model": self.model, "--config": config_file, "--grpc-port": 0, "--ops-port": 0, **(flags or {})}
        words = [str(word) for flag in given.items() for word in flag]
        with self._log_file.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *program, *words], stderr=output, env=os.environ | (environment or {})
            )

    # ---- what it says ----------------------------------------------------------------------------------------------

    @property
    def log(self) -> str:
        return self._log_file.read_text()

    @property
    def last_line(self) -> str:
        return self.log.strip().splitlines()[-1]

    def ports(self) -> tuple[int, int]:
        """gRPC, ops."""
        found = self.wait_for(
            lambda: re.search(r"gRPC on \S+:(\d+), probes and metrics on \S+:(\d+)", self.log), "ports"
        )
        return int(found[1]), int(found[2])

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.ports()[0]}"

    def get(self, path: str) -> tuple[int, str]:
        """(status, body) of the ops listener."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports()[1]}{path}", timeout=DEADLINE_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name: str) -> float:
        """The value of the metric's only sample, or the sum of its samples."""
        samples = re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        assert samples, f"no metric {name}"
        return sum(map(float, samples))

    def core_pid(self) -> int:
        """The only child."""
        (child,) = _children(self.process.pid)
        return child

    def rank_pid(self, rank: int) -> int:
        """Of a rank that the core has started; rank 0 is the core itself."""
        core = self.core_pid()
        return _children(core)[rank - 1] if rank else core

    # ---- waiting and acting ----------------------------------------------------------------------------------------

    def wait_for(self, condition: Callable[[], T], what: str) -> T:
        return wait_for(condition, lambda: f"{what}; the engine's log:\n{self.log}")

    def wait_until_ready(self) -> None:
        self.wait_for(lambda: self.get("/ready")[0] == 200, "ready")

    def switch(self, name: str, on: bool = True) -> None:
        path = self.switches / name
        path.touch() if on else path.unlink(missing_ok=True)

    def wait(self) -> int:
        return self.process.wait(DEADLINE_S)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def wait_for(condition: Callable[[], T], what: Callable[[], str]) -> T:
    """The condition's first true value; fails with what is pending."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < deadline_s, f"still waiting for {what()}"
        time.sleep(0.005)
    return value


def prompt(*tokens: int) -> list[pb.PromptItem]:
    return [pb.PromptItem(token_ids=pb.TokenIds(ids=tokens))]


def request(request_id: str, tokens: Sequence[int] = (5, 6, 7), **sampling: object) -> pb.GenerateRequest:
    return pb.GenerateRequest(
        request_id=request_id, prompt=prompt(*tokens), sampling=pb.SamplingParams(**{"temperature": 0.0, **sampling})
    )


def _children(pid: int) -> list[int]:
    """In the order in which they were started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _fake_model(folder: Path) -> Path:
    model = folder / "model"
    (model / "switches").mkdir(parents=True, exist_ok=True)
    (model / "tokenizer.json").write_bytes(TOKENIZER)
    (model / "config.json").write_text("{}")
    return model
