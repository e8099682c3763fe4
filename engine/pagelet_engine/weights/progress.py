"""How far loading has come, in whole lines: a log in a cluster has no place for a bar that rewrites itself."""

import sys
import time
from collections.abc import Callable

LINE_EVERY_S = 5.0


class LoadProgress:
    """Says nothing about a load that is over before the first line is due."""

    def __init__(
        self,
        total_bytes: int,
        clock_s: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
    ) -> None:
        self._total_bytes = total_bytes
        self._done_bytes = 0
        self._clock_s = clock_s
        self._say = say
        self._began_s = self._said_s = clock_s()

    def advance(self, num_bytes: int) -> None:
        self._done_bytes += num_bytes
        now_s = self._clock_s()
        if now_s - self._said_s < LINE_EVERY_S:
            return
        self._said_s = now_s
        done, total, rate = (
            number / 1e9 for number in (self._done_bytes, self._total_bytes, self._done_bytes / (now_s - self._began_s))
        )
        self._say(f"pagelet engine: loading weights, {done:.1f} of {total:.1f} GB, {rate:.2f} GB/s")
