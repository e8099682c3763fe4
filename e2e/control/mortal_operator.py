"""The operator, somebody who starts it again at once, and a client that dies on order, as a power cut would have it.

    python e2e/control/mortal_operator.py FLAGS…    with MORTAL_ORDER=FILE

While FILE says "before 3" or "after 3", the operator ends itself there. Writes are counted from when it first sees the
order; those of the Lease, and dry runs, are not. FILE.writes has a line for each. The next life finds no order.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pagelet_operator.cluster.client import connect
from pagelet_operator.daemon import run
from pagelet_operator.logs import set_up_logs
from pagelet_operator.settings import Settings, parse_settings

DEATH = 77
WRITES = ("apply", "create", "replace", "patch_status", "delete")


class MortalApi:
    """An Api that reads its order before each write."""

    def __init__(self, api: Any, order: Path) -> None:
        self._api = api
        self._order = order
        self._count = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._api, name)
        return self._counted(name, method) if name in WRITES else method

    def _counted(self, name: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def write(*arguments: Any, **options: Any) -> Any:
            written = arguments[0]
            kind = written["kind"] if isinstance(written, Mapping) else written.name
            if options.get("dry_run") or kind == "Lease" or not self._order.exists():
                return await method(*arguments, **options)
            self._count += 1
            with journal(self._order).open("a") as lines:
                lines.write(f"{name} {kind}\n")
            when, last_write = self._order.read_text().split()
            if self._count == int(last_write) and when == "before":
                os._exit(DEATH)
            answer = await method(*arguments, **options)
            if self._count == int(last_write):
                os._exit(DEATH)
            return answer

        return write


def journal(order: Path) -> Path:
    return order.with_suffix(".writes")


def live(settings: Settings, order: Path) -> None:
    """One life of the operator, in a process of its own."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    set_up_logs(settings.log_format)

    async def mortal_connect() -> Any:
        return MortalApi(await connect(), order)

    asyncio.run(run(settings, mortal_connect))


def main() -> int:
    """Life after life, until one ends otherwise than by order. Each is a fork: what it imports is imported once."""
    order = Path(os.environ["MORTAL_ORDER"])
    # All lives have one name, so none waits until the Lease of the last one has run out: test_leader does.
    settings = replace(parse_settings(sys.argv[1:]), identity="mortal")
    while True:
        life = get_context("fork").Process(target=live, args=(settings, order))
        life.start()
        signal.signal(signal.SIGTERM, lambda *_, life=life: life.terminate())
        life.join()
        if life.exitcode != DEATH:
            return life.exitcode or 0
        order.unlink()


if __name__ == "__main__":
    sys.exit(main())
