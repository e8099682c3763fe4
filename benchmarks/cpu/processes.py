"""A server's processes as the kernel sees them: processor time, resident memory; and putting them to sleep.

Reads /proc, so Linux alone. A tree is a process and all its descendants, looked up anew each time.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_KIB = 1024
_AT_REST = "TtZX"  # stopped, traced, a zombie, dead
_POLL_S = 0.001


class NoProcess(Exception):
    """Nothing runs under this id."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident bytes of a tree; what several processes share is counted once."""

    private_bytes: int
    """Anonymous and shared memory: what these processes made themselves."""
    file_bytes: int
    """Mapped files: libraries, and weights where they are mapped."""


@dataclass(frozen=True, slots=True)
class ProcessTree:
    pid: int

    def cpu_s(self) -> float:
        """Processor seconds so far, of those that ended as well. Raises NoProcess."""
        return sum(_cpu_ticks(pid) for pid in self.pids()) / _TICKS_PER_S

    def memory(self) -> Memory:
        """Raises NoProcess."""
        parts = [_proportional_bytes(pid) for pid in self.pids()]
        anonymous, shared, file = (sum(column) for column in zip(*parts, strict=True))
        return Memory(anonymous + shared, file)

    def mapped_bytes(self, folder: Path) -> int:
        """Resident bytes of the folder's files that are mapped. Raises NoProcess."""
        return sum(_mapped_bytes(pid, str(folder.resolve())) for pid in self.pids())

    def sleep(self) -> None:
        """Stop all of them, until wake(); returns when none runs any more. Raises NoProcess."""
        self._signal(signal.SIGSTOP)
        while not all(_fields(pid)[0] in _AT_REST for pid in self.pids()):
            time.sleep(_POLL_S)

    def wake(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Raises NoProcess."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def pids(self) -> list[int]:
        """Raises NoProcess."""
        if not (_PROC / str(self.pid)).is_dir():
            raise NoProcess(f"process {self.pid} does not run")
        pids = [self.pid]
        for pid in pids:
            pids += _children(pid)
        return pids


def _children(pid: int) -> Iterator[int]:
    for task in _tasks(pid):
        with suppress(OSError):
            yield from map(int, (task / "children").read_text().split())


def _tasks(pid: int) -> list[Path]:
    with suppress(OSError):
        return list((_PROC / str(pid) / "task").iterdir())
    return []


def _cpu_ticks(pid: int) -> int:
    """utime, stime, and both of the children that it has waited for: proc(5), fields 14 to 17."""
    return sum(map(int, _fields(pid)[11:15]))


def _fields(pid: int) -> list[str]:
    """Of /proc/PID/stat, from the third on, the state: before it comes a name that may hold anything."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended
        return ["X", *["0"] * 20]


def _proportional_bytes(pid: int) -> tuple[int, int, int]:
    """(anonymous, shared memory, files), each page divided by the number of processes that map it."""
    sizes = {"Pss_Anon": 0, "Pss_Shmem": 0, "Pss_File": 0}
    with suppress(OSError):
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in sizes:
                sizes[name] = int(rest.split()[0]) * _KIB
    return sizes["Pss_Anon"], sizes["Pss_Shmem"], sizes["Pss_File"]


def _mapped_bytes(pid: int, folder: str) -> int:
    total, inside = 0, False
    with suppress(OSError):
        for line in (_PROC / str(pid) / "smaps").read_text().splitlines():
            words = line.split()
            if not words[0].endswith(":"):  # a mapping's first line: address, rights, offset, device, inode, path
                inside = len(words) > 5 and words[5].startswith(folder)
            elif inside and words[0] == "Pss:":
                total += int(words[1]) * _KIB
    return total
