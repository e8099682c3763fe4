"""A client that does nothing wrong, in a process of its own: opens a short stream at a fixed interval, and pings.

Run as a program, `bystander.py URL MODEL`, until its input ends; then it says one JSON object: every chat with the
times of its events, the ones under way as far as they came, and every ping of the gateway's own health route, which
shows how long its loop took to come round. Times are `time.monotonic()`.

Chats are sent whether or not the ones before are answered, as by many people: one that waited for its last answer
would hardly notice a server that stands still.
"""

import argparse
import json
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from event_stream import BrokenAnswer, read_answer

SILENCE_LIMIT_S = 60
"""A chat, or a ping, that brings nothing for that long is given up."""
MOST_OPEN = 64
_PING_INTERVAL_S = 0.02
_RETRY_S = 0.1


@dataclass(slots=True)
class _Conversation:
    """One request on a connection of its own, and what came of it."""

    sent_s: float
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    failure: str = ""
    ended_s: float = 0.0

    def report(self, now_s: float) -> dict[str, Any]:
        answer = None
        try:
            answer = read_answer(self.pieces)
            failure = self.failure or (f"status {answer.status}" if answer.status not in (0, 200) else "")
        except BrokenAnswer as error:
            failure = self.failure or str(error)
        events = answer.events if answer and answer.status == 200 else ()
        arrivals_s = [when_s for when_s, event in events if event.get("choices")]
        errors = [event["error"]["message"] for _, event in events if "error" in event]
        return {
            "sent_s": self.sent_s,
            "arrivals_s": arrivals_s,
            "ended_s": self.ended_s or now_s,
            "complete": bool(self.ended_s) and not failure and not errors,
            "failure": failure or "".join(errors[:1]),
        }


def _converse(address: tuple[str, int], request: bytes, one: _Conversation) -> None:
    """One request until the server closes."""
    try:
        with socket.create_connection(address, timeout=SILENCE_LIMIT_S) as connection:
            connection.sendall(request)
            while piece := connection.recv(1 << 16):
                one.pieces.append((time.monotonic(), piece))
        if not one.pieces:
            one.failure = "the connection was closed without an answer"
    except OSError as error:
        one.failure = error.strerror or str(error) or type(error).__name__
    one.ended_s = time.monotonic()


def _chat_for_ever(address: tuple[str, int], request: bytes, interval_s: float, into: list[_Conversation]) -> None:
    while True:
        if sum(not chat.ended_s for chat in into[-2 * MOST_OPEN :]) < MOST_OPEN:
            one = _Conversation(time.monotonic())
            into.append(one)
            threading.Thread(target=_converse, args=(address, request, one), daemon=True).start()
        time.sleep(interval_s)


def _ping_for_ever(address: tuple[str, int], into: list[tuple[float, float]]) -> None:
    """(sent, answered) of each ping, over a connection that stays open; a failure counts from its first ping."""
    request = f"GET /health HTTP/1.1\r\nHost: {address[0]}\r\n\r\n".encode()
    while True:
        sent_s = time.monotonic()
        try:
            with socket.create_connection(address, timeout=SILENCE_LIMIT_S) as connection:
                while True:
                    connection.sendall(request)
                    if not connection.recv(1 << 16):
                        break
                    into.append((sent_s, time.monotonic()))
                    time.sleep(_PING_INTERVAL_S)
                    sent_s = time.monotonic()
        except OSError:
            pass
        into.append((sent_s, time.monotonic()))
        time.sleep(_RETRY_S)


def _request(host: str, model: str, max_tokens: int) -> bytes:
    body = json.dumps(
        {
            "model": model,
            "messages": [{"role": "user", "content": "Tell a story about a fox."}],
            "max_tokens": max_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            # The engine's own queue is none of the gateway's doing: this client is at its head.
            "priority": -1,
        }
    ).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    return f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("model")
    parser.add_argument("--interval-s", type=float, default=0.15)
    parser.add_argument("--max-tokens", type=int, default=16)
    options = parser.parse_args()
    at = urlsplit(options.url)
    assert at.hostname is not None, f"wanted http://host:port, found {options.url}"
    assert at.port is not None, f"wanted http://host:port, found {options.url}"
    address = (at.hostname, at.port)
    chats: list[_Conversation] = []
    pings: list[tuple[float, float]] = []
    request = _request(at.netloc, options.model, options.max_tokens)
    chatting = threading.Thread(target=_chat_for_ever, args=(address, request, options.interval_s, chats), daemon=True)
    pinging = threading.Thread(target=_ping_for_ever, args=(address, pings), daemon=True)
    chatting.start()
    pinging.start()
    sys.stdin.read()
    now_s = time.monotonic()
    print(json.dumps({"chats": [chat.report(now_s) for chat in list(chats)], "pings": list(pings)}), flush=True)
    os._exit(0)  # the threads may wait for a server that has died


if __name__ == "__main__":
    main()
