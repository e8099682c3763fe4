"""The processes of this pod's ranks: started at once, ended together. Refuses to know what they do."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pagelet_engine.child_process import describe_exit
from pagelet_engine.worker.ranks.place import Place

RankCommand = Callable[[Path, Path, Place, int, int], Sequence[str]]
"""(model folder, configuration file, this pod, rank, rank 0's port) → the command of the rank's process."""


class RankProcesses:
    """Whoever starts them must `stop` them. Their standard error is ours."""

    def __init__(self, commands: Mapping[int, Sequence[str]]) -> None:
        """By rank."""
        self._processes = {
            rank: subprocess.Popen(command, stdin=subprocess.DEVNULL) for rank, command in commands.items()
        }

    def first_exit(self) -> tuple[int, int] | None:
        """(rank, exit code) of one that has ended, one that went wrong before others; None while all run."""
        codes = {rank: code for rank, process in self._processes.items() if (code := process.poll()) is not None}
        return max(codes.items(), key=lambda item: item[1] != 0) if codes else None

    def exit_of(self, rank: int, patience_s: float) -> str:
        """How a process that is about to end has ended, or "" when it does not, or is not ours."""
        process = self._processes.get(rank)
        if process is None:
            return ""
        try:
            return describe_exit(process.wait(patience_s))
        except subprocess.TimeoutExpired:
            return ""

    def wait(self, patience_s: float) -> bool:
        """Whether all have ended by themselves in this time."""
        until_s = time.monotonic() + patience_s
        return all(self.exit_of(rank, max(0.0, until_s - time.monotonic())) for rank in self._processes)

    def stop(self) -> None:
        """End them now; harmless when they have ended."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()


def rank_command(model_dir: Path, config_file: Path, place: Place, rank: int, port: int) -> list[str]:
    """The real one."""
    return [
        sys.executable,
        "-m",
        "pagelet_engine.worker.ranks",
        *rank_arguments(model_dir, config_file, place, rank, port),
    ]


def rank_arguments(model_dir: Path, config_file: Path, place: Place, rank: int, port: int) -> list[str]:
    words = ["--model", str(model_dir), "--config", str(config_file), "--rank", str(rank)]
    return [*words, "--leader", f"{place.leader_host}:{port}"]
