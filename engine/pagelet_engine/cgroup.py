"""What the kernel lets this container use, and what it did to it: CPU quota, memory limit, out-of-memory kills.

Reads the files of cgroups v2, else v1. Refuses to know what any of it is used for.
"""

import math
from dataclasses import dataclass
from pathlib import Path

UNLIMITED_BYTES = 1 << 60
"""v1 says "no limit" with the largest page-aligned number; nobody has this much."""


@dataclass(frozen=True, slots=True)
class Cgroup:
    """The group that a container sees as its own: its root."""

    root: Path = Path("/sys/fs/cgroup")

    def quota_cores(self) -> float:
        """CPU time a period ÷ the period; infinite without a quota."""
        quota, _, period = self._text("cpu.max").partition(" ")
        if not period:
            quota, period = self._text("cpu/cpu.cfs_quota_us"), self._text("cpu/cpu.cfs_period_us")
        if not quota.isdigit() or not period.isdigit() or int(period) == 0:  # "max", or -1 in v1
            return math.inf
        return int(quota) / int(period)

    def memory_limit_bytes(self) -> int | None:
        """None: as much as the machine has."""
        text = self._text("memory.max") or self._text("memory/memory.limit_in_bytes")
        if not text.isdigit() or int(text) >= UNLIMITED_BYTES:
            return None
        return int(text)

    def oom_kills(self) -> int:
        """Processes of this container that were killed because its memory was used up; 0 where nobody counts."""
        rows = (self._text("memory.events") or self._text("memory/memory.oom_control")).splitlines()
        counts = [row.removeprefix("oom_kill ") for row in rows if row.startswith("oom_kill ")]
        return int(counts[0]) if counts and counts[0].isdigit() else 0

    def _text(self, name: str) -> str:
        try:
            return (self.root / name).read_text().strip()
        except (OSError, ValueError):
            return ""
