"""What a gateway says of itself and what the kernel says of it while a benchmark runs: loop lag, memory."""

import re
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from itertools import pairwise

from cpu.processes import NoProcess, ProcessTree
from pagelet_api import names

LOOP_LAG = "pagelet:gateway_loop_lag_seconds"
_BUCKET = re.compile(rf'^{LOOP_LAG}_bucket{{.*?le="([^"]+)".*?}} (\S+)$', re.MULTILINE)
_SCRAPE_LIMIT_S = 5


def loop_lag_buckets(ops_url: str) -> dict[float, float] | None:
    """The loop lag's histogram, upper bound → count at or below it; None: it does not answer, or has no such metric."""
    try:
        with urllib.request.urlopen(ops_url + names.METRICS_PATH, timeout=_SCRAPE_LIMIT_S) as answer:
            text = answer.read().decode()
    except OSError:
        return None
    return {float(bound): float(count) for bound, count in _BUCKET.findall(text)} or None


def most_lag_s(before: dict[float, float] | None, after: dict[float, float] | None) -> float | None:
    """The bound of the highest bucket that grew in between, 0 when none did; None: unknown."""
    if before is None or after is None:
        return None
    bounds = sorted(after)
    grown = [after[bound] - before.get(bound, 0.0) for bound in bounds]
    above = [grown[0], *(later - earlier for earlier, later in pairwise(grown))]
    return max((bound for bound, count in zip(bounds, above, strict=True) if count > 0), default=0.0)


@dataclass
class MemoryGuard:
    """The proportional set size of a process and all below it, sampled; a tree that takes too much is ended, as a
    container at its limit is."""

    root: int
    limit_bytes: int
    interval_s: float = 0.2
    most_bytes: int = 0
    exceeded: bool = False
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "MemoryGuard":
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        tree = ProcessTree(self.root)
        while not self._ended.is_set():
            try:
                began_s = time.monotonic()
                memory = tree.memory()
                self.most_bytes = max(self.most_bytes, memory.private_bytes + memory.file_bytes)
                if self.most_bytes > self.limit_bytes:
                    self.exceeded = True
                    tree.kill()
                    return
            except NoProcess:
                return
            # A large tree takes long to be read: that must not become a load of its own.
            self._ended.wait(max(self.interval_s, 9 * (time.monotonic() - began_s)))
