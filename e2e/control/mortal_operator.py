"""The operator, with a client that dies before or after its k-th write, as a power cut would have it.

    python e2e/control/mortal_operator.py FLAGS…    with MORTAL_WHEN=before|after, MORTAL_WRITE=k, MORTAL_ARMED=FILE

Writes are counted from when FILE exists; those of the Lease, and dry runs, are not. FILE then holds the count.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from pagelet_operator.cluster.client import connect
from pagelet_operator.daemon import run
from pagelet_operator.logs import set_up_logs
from pagelet_operator.settings import parse_settings

DEATH = 77
WRITES = ("apply", "create", "replace", "patch_status", "delete")


class MortalApi:
    def __init__(self, api: Any, armed: Path, last_write: int, when: str) -> None:
        self._api = api
        self._armed = armed
        self._last_write = last_write
        self._when = when
        self._count = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._api, name)
        return self._counted(method) if name in WRITES else method

    def _counted(self, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def write(*arguments: Any, **options: Any) -> Any:
            written = arguments[0]
            kind = written["kind"] if isinstance(written, Mapping) else written.name
            if options.get("dry_run") or kind == "Lease" or not self._armed.exists():
                return await method(*arguments, **options)
            self._count += 1
            self._armed.write_text(str(self._count))
            if self._count == self._last_write and self._when == "before":
                os._exit(DEATH)
            answer = await method(*arguments, **options)
            if self._count == self._last_write:
                os._exit(DEATH)
            return answer

        return write


async def mortal_connect() -> Any:
    environment = os.environ
    armed, write, when = (environment[f"MORTAL_{name}"] for name in ("ARMED", "WRITE", "WHEN"))
    return MortalApi(await connect(), Path(armed), int(write), when)


if __name__ == "__main__":
    settings = parse_settings(sys.argv[1:])
    set_up_logs(settings.log_format)
    asyncio.run(run(settings, mortal_connect))
