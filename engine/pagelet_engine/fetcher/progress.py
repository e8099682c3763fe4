"""How far a stretch of work is: one line every few seconds, for a log. No bars, no carriage returns."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

Advance = Callable[[int], None]
"""Called with the bytes done since the last call."""

_EVERY_S = 5.0


class Stopped(Exception):
    """Raised into work in threads, which cannot be cancelled otherwise."""


@asynccontextmanager
async def progress_lines(doing: str, total_bytes: int) -> AsyncIterator[Advance]:
    """Print while the block runs, also when nothing moves, and once when it ended well.

    Once the block is left, the yielded function raises Stopped: threads that the block started end soon.
    """
    done_bytes, over, started_s = 0, False, time.monotonic()

    def advance(num_bytes: int) -> None:
        nonlocal done_bytes
        if over:
            raise Stopped
        done_bytes += num_bytes

    async def tell() -> None:
        told_bytes = 0
        while True:
            await asyncio.sleep(_EVERY_S)
            rate = (done_bytes - told_bytes) / _EVERY_S
            told_bytes = done_bytes
            print(
                f"{doing}: {done_bytes / 1e6:,.0f} of {total_bytes / 1e6:,.0f} MB, {rate / 1e6:,.1f} MB/s", flush=True
            )

    teller = asyncio.create_task(tell())
    try:
        yield advance
        took_s = max(time.monotonic() - started_s, 1e-3)
        print(
            f"{doing}: done, {done_bytes / 1e6:,.1f} MB in {took_s:.1f} s, {done_bytes / 1e6 / took_s:,.1f} MB/s",
            flush=True,
        )
    finally:
        over = True
        teller.cancel()
        with suppress(asyncio.CancelledError):
            await teller
