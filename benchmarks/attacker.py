"""One client that sends an attack from an address of its own, in a process of its own: `attacker.py URL NAME`.

It says `ready` when its bytes are made, begins when a line comes, says `answered` once the first request is over, ends
with the next line, and last says one line of JSON: how many requests it sent, the answers by status, and how many
connections ended without one. It stands for another machine, so it takes only processor time that nothing else wants.
"""

import argparse
import json
import os
import selectors
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from urllib.parse import urlsplit

from attacks import ATTACKS, Attack

SOURCE = "127.0.0.2"
_NICENESS = 10
_SEND_BYTES = 1 << 20
_RECEIVE_BYTES = 1 << 18
_POLL_S = 0.1
_RETRY_S = 0.02
"""After a connection that was refused, or ended without an answer."""


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    request: memoryview
    began_s: float
    next_piece_s: float = 0.0
    sent: int = 0
    status: str = ""
    """Of the answer's first bytes; empty while there are none."""


class Attacker:
    def __init__(self, attack: Attack, address: tuple[str, int]) -> None:
        self._attack = attack
        self._address = address
        self._requests: Iterator[bytes] = cycle(attack.requests())
        self._selector = selectors.DefaultSelector()
        self._buffer = bytearray(_RECEIVE_BYTES)
        self._waiting = attack.connections
        self._retry_s = 0.0
        self._unread: list[socket.socket] = []
        """Stay open."""
        self.sent = 0
        self.answers: Counter[str] = Counter()
        self.unanswered: Counter[str] = Counter()
        self.slowest_s = 0.0

    def run(self, ends: int) -> None:
        """Until a line comes from there."""
        self._selector.register(ends, selectors.EVENT_READ)
        while True:
            self._open()
            for key, mask in self._selector.select(_POLL_S):
                if key.data is None:
                    return
                self._serve(key.data, mask)
            if self._attack.pause_s:
                self._wake_paused()

    def report(self) -> dict[str, object]:
        return {
            "sent": self.sent,
            "answers": dict(self.answers),
            "unanswered": dict(self.unanswered),
            "open": self.sent - self.answers.total() - self.unanswered.total(),
            "slowest_s": self.slowest_s,
        }

    def _open(self) -> None:
        now_s = time.monotonic()
        while self._waiting and now_s >= self._retry_s:
            self._waiting -= 1
            connection = socket.socket()
            connection.bind((SOURCE, 0))
            connection.setblocking(False)
            connection.connect_ex(self._address)
            one = _Connection(connection, memoryview(next(self._requests)), now_s)
            self._selector.register(connection, self._wanted(selectors.EVENT_WRITE), one)
            self.sent += 1

    def _wanted(self, events: int) -> int:
        return events | selectors.EVENT_READ if self._attack.reads else events

    def _serve(self, one: _Connection, mask: int) -> None:
        try:
            if mask & selectors.EVENT_READ:
                self._receive(one)
            elif mask & selectors.EVENT_WRITE:
                self._send(one)
        except OSError as error:
            self._ended(one, error.strerror or type(error).__name__)

    def _send(self, one: _Connection) -> None:
        size = self._attack.piece_bytes or _SEND_BYTES
        one.sent += one.socket.send(one.request[one.sent : one.sent + size])
        if one.sent == len(one.request) or self._attack.pause_s:
            one.next_piece_s = time.monotonic() + self._attack.pause_s
            self._listen(one, self._wanted(0))

    def _wake_paused(self) -> None:
        now_s = time.monotonic()
        for key in list(self._selector.get_map().values()):
            one = key.data
            if one is not None and one.sent < len(one.request) and one.next_piece_s <= now_s:
                self._listen(one, self._wanted(selectors.EVENT_WRITE))

    def _listen(self, one: _Connection, events: int) -> None:
        if events:
            self._selector.modify(one.socket, events, one)
        else:  # all is sent, and no answer is wanted
            self._selector.unregister(one.socket)
            self._unread.append(one.socket)

    def _receive(self, one: _Connection) -> None:
        received = one.socket.recv_into(self._buffer)
        if received and not one.status:
            one.status = self._buffer[:12].decode(errors="replace").partition(" ")[2] or "?"
        if not received:
            self._ended(one, "closed")

    def _ended(self, one: _Connection, why: str) -> None:
        self._selector.unregister(one.socket)
        one.socket.close()
        self._waiting += 1
        if not (self.answers or self.unanswered):
            print("answered", flush=True)
        if one.status:
            self.answers[one.status] += 1
            self.slowest_s = max(self.slowest_s, time.monotonic() - one.began_s)
        else:
            self.unanswered[why] += 1
            self._retry_s = time.monotonic() + _RETRY_S


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("name", choices=ATTACKS)
    options = parser.parse_args()
    at = urlsplit(options.url)
    assert at.hostname is not None, f"wanted http://host:port, found {options.url}"
    assert at.port is not None, f"wanted http://host:port, found {options.url}"
    os.nice(_NICENESS)
    attacker = Attacker(ATTACKS[options.name], (at.hostname, at.port))
    print("ready", flush=True)
    sys.stdin.buffer.raw.readline()  # type: ignore[attr-defined]
    attacker.run(sys.stdin.fileno())
    print(json.dumps(attacker.report()), flush=True)


if __name__ == "__main__":
    main()
