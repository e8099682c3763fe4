"""The servers that are compared: Pagelet, and whoever already runs and speaks the same API.

Owns how they are named on the command line, asked for their model, and kept idle while another one is measured.
"""

import json
import re
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from cpu.processes import ProcessTree

_TIMEOUT_S = 30
_ARGUMENT = re.compile(r"(?P<name>[^=]+)=(?P<url>http://[^@/]+)/?(@(?P<pid>\d+))?")


class NoContender(Exception):
    """It cannot be asked; the message says what was wanted."""


@dataclass(frozen=True, slots=True)
class Contender:
    name: str
    url: str
    model: str
    """As it calls it."""
    tree: ProcessTree | None = None
    """Its processes, if they are known."""

    @classmethod
    def parse(cls, argument: str) -> Self:
        """A running server from NAME=URL or NAME=URL@PID. Raises NoContender."""
        match = _ARGUMENT.fullmatch(argument)
        if not match:
            raise NoContender(
                f"wanted NAME=URL or NAME=URL@PID with a URL such as http://127.0.0.1:8080, found {argument!r}"
            )
        pid = match["pid"]
        return cls(match["name"], match["url"], _first_model(match["url"]), ProcessTree(int(pid)) if pid else None)

    def cpu_s(self) -> float | None:
        """Processor seconds so far; None where its processes are not known."""
        return self.tree.cpu_s() if self.tree else None


@contextmanager
def asleep(contenders: Iterable[Contender]) -> Iterator[None]:
    """Those whose processes are known are stopped; afterwards they go on."""
    trees = [contender.tree for contender in contenders if contender.tree]
    for tree in trees:
        tree.sleep()
    try:
        yield
    finally:
        for tree in trees:
            tree.wake()


def _first_model(url: str) -> str:
    try:
        with urllib.request.urlopen(f"{url}/v1/models", timeout=_TIMEOUT_S) as answer:
            return str(json.load(answer)["data"][0]["id"])
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise NoContender(f"{url}/v1/models: wanted a list with a model, found {error!r}") from error
