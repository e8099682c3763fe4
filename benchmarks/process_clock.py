"""What running processes are and have used so far, read from outside: processor time, and how often they were woken."""

import re
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Used:
    """By one process since its start, or in between two readings."""

    cpu_s: float
    wakeups: int
    """Voluntary context switches of all its threads: each is a wait that ended."""

    def __sub__(self, earlier: "Used") -> "Used":
        return Used(self.cpu_s - earlier.cpu_s, self.wakeups - earlier.wakeups)


def used(pid: int) -> Used:
    """Raises OSError when the process has gone."""
    return Used(time.clock_gettime(_cpu_clock(pid)), sum(map(_switches, Path(f"/proc/{pid}/task").iterdir())))


def children(pid: int) -> list[int]:
    """The process ids of its children."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for thread in threads for child in (thread / "children").read_text().split()]


def program(pid: int) -> str:
    """The module or script that a Python process runs. Raises OSError when the process has gone."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    named = words[words.index("-m") + 1] if "-m" in words else next((w for w in words if w.endswith(".py")), words[0])
    return Path(named).name


def _cpu_clock(pid: int) -> int:
    # What clock_getcpuclockid(3) returns on Linux: nanoseconds, where /proc/PID/stat counts hundredths of a second.
    return (~pid << 3) | 2


def _switches(thread: Path) -> int:
    found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", (thread / "status").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0
