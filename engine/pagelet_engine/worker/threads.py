"""How many threads this process may really use: containers see all cores of the machine and may run on few."""

import math
import os

from pagelet_engine.cgroup import Cgroup


def usable_cores(cgroup: Cgroup | None = None) -> int:
    """The smaller of the CPU affinity and the container's CPU quota, rounded up; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = (cgroup or Cgroup()).quota_cores()
    return max(1, math.ceil(min(cores, quota)))
