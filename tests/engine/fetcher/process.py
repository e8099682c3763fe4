"""The fetcher as a process of its own, as the Job runs it, in an environment full of nonsense."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pagelet_api.model_report import ModelFacts, ModelFailure, ModelReport

# What the machine that runs the fetcher may have around: none of it may matter.
NONSENSE = {
    "AWS_ACCESS_KEY_ID": "nonsense",
    "AWS_SECRET_ACCESS_KEY": "nonsense",
    "AWS_SESSION_TOKEN": "nonsense",
    "AWS_CA_BUNDLE": "/nonsense.pem",
    "AWS_ENDPOINT_URL": "https://nonsense.invalid",
    "AWS_ENDPOINT_URL_S3": "https://nonsense.invalid",
    "AWS_REGION": "nonsense",
    "AWS_ALLOW_HTTP": "nonsense",
    "AWS_SKIP_SIGNATURE": "nonsense",
    "HF_TOKEN": "nonsense",
    "HF_ENDPOINT": "https://nonsense.invalid",
}


@dataclass(frozen=True)
class Outcome:
    code: int
    output: str
    report: ModelReport | None

    @property
    def facts(self) -> ModelFacts:
        assert self.report, self.output
        assert self.report.facts, self.output
        assert self.code == 0
        return self.report.facts

    @property
    def failure(self) -> ModelFailure:
        assert self.report, self.output
        assert self.report.failure, self.output
        assert self.code == 1
        return self.report.failure


@dataclass
class Fetcher:
    """The command in a process of its own, as the Job runs it."""

    folder: Path
    credentials: dict[str, str] = field(default_factory=dict)

    def start(self, source: Mapping[str, Any] | str, *arguments: object, limit_bytes: int = 0) -> "Running":
        files = self.folder / "credentials"
        files.mkdir(exist_ok=True)
        for name, value in self.credentials.items():
            (files / name).write_text(value)
        (self.folder / "source.json").write_text(source if isinstance(source, str) else json.dumps(source))
        report = self.folder / "report.json"
        report.write_text("")
        command = [sys.executable, "-m", "pagelet_engine.fetcher", "--source", self.folder / "source.json"]
        command += ["--credentials", files, "--report", report, *arguments]
        process = subprocess.Popen(
            [str(argument) for argument in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **NONSENSE},
            preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes,) * 2)) if limit_bytes else None,
        )
        return Running(process, report)

    def __call__(self, source: Mapping[str, Any] | str, *arguments: object, limit_bytes: int = 0) -> Outcome:
        return self.start(source, *arguments, limit_bytes=limit_bytes).outcome()


@dataclass
class Running:
    process: subprocess.Popen[str]
    report: Path

    def outcome(self) -> Outcome:
        output, _ = self.process.communicate(timeout=120)
        return Outcome(self.process.returncode, output, ModelReport.parse(self.report.read_text()))

    def kill(self, number: int = signal.SIGKILL) -> Outcome:
        self.process.send_signal(number)
        return self.outcome()
