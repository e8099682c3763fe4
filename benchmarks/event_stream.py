"""An HTTP answer's bytes with their times → its status, its server-sent events, each with the time it was complete."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from httptools import HttpParserError, HttpResponseParser

_DATA = b"data:"
_DONE = b"[DONE]"


class BrokenAnswer(Exception):
    """No HTTP, or an event that is no JSON."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    """0: it ended before there was one."""
    body: bytes
    events: tuple[tuple[float, dict[str, Any]], ...]
    """(when its line was complete, its JSON), the closing [DONE] left out."""


def read_answer(pieces: Iterable[tuple[float, bytes]]) -> Answer:
    """Raises BrokenAnswer. A line of data is an event: none of these servers spreads one over several."""
    collector = _Collector()
    parser = HttpResponseParser(collector)
    body = bytearray()
    rest = b""
    events: list[tuple[float, dict[str, Any]]] = []
    for time_s, piece in pieces:
        collector.received = b""
        try:
            parser.feed_data(piece)
        except HttpParserError as error:
            raise BrokenAnswer(f"{error}: {piece!r:.200}") from error
        body += collector.received
        *lines, rest = (rest + collector.received).split(b"\n")
        for line in lines:
            data = line.removeprefix(_DATA).strip()
            if line.startswith(_DATA) and data != _DONE:
                events.append((time_s, _parsed(data)))
    return Answer(parser.get_status_code(), bytes(body), tuple(events))


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        event = json.loads(data)
    except ValueError as error:
        raise BrokenAnswer(f"wanted JSON, found {data!r:.200}") from error
    if not isinstance(event, dict):
        raise BrokenAnswer(f"wanted a JSON object, found {data!r:.200}")
    return event


class _Collector:
    """What httptools calls."""

    def __init__(self) -> None:
        self.received = b""

    def on_body(self, body: bytes) -> None:
        self.received += body
