"""Log lines: one JSON object each, or text for people. Owns their form, and that no secret is in them.

Nothing that the operator logs is read from a Secret; objects are named in log lines and never shown.
"""

import json
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

_QUIET_S = 30.0
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class LogFormat(StrEnum):
    JSON = "json"
    TEXT = "text"


def set_up_logs(log_format: LogFormat) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if log_format is LogFormat.JSON else TextLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("kopf").setLevel(logging.WARNING)
    # Every watch says of each attempt that it failed, while a server is away.
    logging.getLogger("kopf._cogs.clients.watching").addFilter(Sparse(_QUIET_S, time.monotonic))
    # It runs in a thread on purpose, and says at every start that it gets no signals there.
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)


class Sparse(logging.Filter):
    """Lets one line through, and then none for a while."""

    def __init__(self, quiet_s: float, monotonic_s: Callable[[], float]) -> None:
        super().__init__()
        self._quiet_s = quiet_s
        self._monotonic_s = monotonic_s
        self._until_s = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        now_s = self._monotonic_s()
        if now_s < self._until_s:
            return False
        self._until_s = now_s + self._quiet_s
        return True


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class TextLines(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        words = " ".join(f"{name}={value}" for name, value in _extra(record).items())
        first, newline, rest = super().format(record).partition("\n")
        return f"{first} {words}".rstrip() + newline + rest


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD and name[:4] != "k8s_"}
