"""How many threads this process may really use: containers see all cores of the machine and may run on few."""

import math
import os
from pathlib import Path


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """The smaller of the CPU affinity and the cgroup's CPU quota (v2, else v1), rounded up; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _quota_cores(cgroup))))


def _quota_cores(cgroup: Path) -> float:
    """CPU time a period ÷ the period; infinite without a quota."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = (
                (cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period")
            )
        except OSError:
            return math.inf
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:  # "max", or -1 in v1
        return math.inf
    return int(quota) / int(period)
