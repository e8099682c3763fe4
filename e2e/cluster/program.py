"""Programs that outlive the command which starts them: their process ids, logs, signals and ends.

Owns one record file a program. Refuses to know what the programs do. A process is identified by its id *and* the moment
it started, so that a record of yesterday never hits today's owner of the same id.
"""

import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class ProgramError(Exception):
    """A program did not do what was wanted; the message ends with its last words."""


@dataclass(frozen=True, slots=True)
class Program:
    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Beside PATH and HOME, which are all that it inherits: a proxy's variables would lead to that proxy."""


class Programs:
    """The programs whose records lie in `records` and whose logs in `logs`."""

    def __init__(self, records: Path, logs: Path) -> None:
        self._records = records
        self._logs = logs

    def start(self, program: Program) -> bool:
        """Start it unless it runs with this very command. Returns whether it was started."""
        if self.alive(program.name):
            if self._record(program.name)["command"] == list(program.command):
                return False
            self.stop(program.name)
        self._records.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        log = str(self._logs / f"{program.name}.log")
        environment = {"PATH": os.environ["PATH"], "HOME": str(self._records), **program.environment}
        pid = os.posix_spawn(
            program.command[0],
            list(program.command),
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        record = {
            "pid": pid,
            "started": _started(pid),
            "command": list(program.command),
            "environment": dict(program.environment),
        }
        self._path(program.name).write_text(json.dumps(record, indent=1) + "\n")
        return True

    def start_again(self, name: str) -> None:
        """Start a program that has run before, as it was."""
        record = self._record(name)
        self.start(Program(name, record["command"], record["environment"]))

    def stop(self, name: str, grace_s: float = 10) -> None:
        """End it: SIGTERM, then SIGKILL. Nothing happens if it does not run."""
        if self.signal(name, signal.SIGTERM):
            self.signal(name, signal.SIGCONT)
            if not self._ended_within(name, grace_s):
                self.kill(name)

    def kill(self, name: str) -> None:
        if self.signal(name, signal.SIGKILL) and not self._ended_within(name, 10):
            raise ProgramError(f"{name} survives SIGKILL\n{self.last_words(name)}")

    def signal(self, name: str, number: signal.Signals) -> bool:
        """Send it a signal; returns whether there was anybody to get it."""
        if not self.alive(name):
            return False
        os.kill(self._record(name)["pid"], number)
        return True

    def forget(self, name: str) -> None:
        assert not self.alive(name), f"{name} runs"
        self._path(name).unlink(missing_ok=True)

    def alive(self, name: str) -> bool:
        if not self._path(name).exists():
            return False
        record = self._record(name)
        with suppress(ChildProcessError):
            os.waitpid(record["pid"], os.WNOHANG)
        return record["started"] is not None and _started(record["pid"]) == record["started"]

    def pid(self, name: str) -> int:
        """Raises ProgramError if it does not run."""
        if not self.alive(name):
            raise ProgramError(f"{name} does not run\n{self.last_words(name)}")
        return int(self._record(name)["pid"])

    def names(self) -> list[str]:
        """All that were started, in that order."""
        records = sorted(self._records.glob("*.json"), key=lambda path: path.stat().st_mtime)
        return [path.stem for path in records]

    def last_words(self, name: str, count: int = 15) -> str:
        log = self._logs / f"{name}.log"
        lines = log.read_text(errors="replace").splitlines()[-count:] if log.exists() else []
        return "\n".join(f"  {name}: {line[:400]}" for line in lines)

    def _ended_within(self, name: str, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while self.alive(name):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def _record(self, name: str) -> dict[str, Any]:
        record: dict[str, Any] = json.loads(self._path(name).read_text())
        return record

    def _path(self, name: str) -> Path:
        return self._records / f"{name}.json"


def _started(pid: int) -> int | None:
    """When the process began, in the kernel's ticks (proc(5): stat, field 22); None if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
