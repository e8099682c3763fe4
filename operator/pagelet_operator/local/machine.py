"""How much memory this machine can still give: the system's word, and the limits of the control groups we run in."""

from pathlib import Path

_UNLIMITED_BYTES = 2**60  # control groups v1 write a huge number where v2 writes "max"


def available_memory_bytes() -> int | None:
    """Memory that new processes can have without swapping; None where the system does not tell (macOS)."""
    known = [found for found in (_system_bytes(), _group_bytes()) if found is not None]
    return min(known, default=None)


def _system_bytes() -> int | None:
    text = _read(Path("/proc/meminfo"))
    line = next((line for line in text.splitlines() if line.startswith("MemAvailable:")), None)
    return int(line.split()[1]) * 1024 if line else None


def _group_bytes() -> int | None:
    """What the container's own limit leaves, as the container sees it."""
    for limit_file, usage_file in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        limit, usage = _read(Path(limit_file)).strip(), _read(Path(usage_file)).strip()
        if limit.isdigit() and usage.isdigit() and int(limit) < _UNLIMITED_BYTES:
            return max(0, int(limit) - int(usage))
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
