"""Many clients in one lean process: it opens streams, counts their events, and takes little of the cores it shares.

Run as a program. It says `begun N` when every stream flows, N events having come, `ending N` when the first is near its
end, and last one line of JSON: the processor time it took, and when each event of the first stream came.
"""

import argparse
import json
import selectors
import socket
import time
from urllib.parse import urlsplit

_MARGIN = 8
"""Events at both ends of every stream that are not measured. One is a token's, or several steps' when somebody lags."""
_EVENT, _DONE = b"data: {", b"data: [DONE]"


class WrongStream(Exception):
    """The server did not answer with a stream, or broke it off."""


class _Client:
    """One streaming request on a connection of its own."""

    def __init__(self, host: str, port: int, request: bytes) -> None:
        self.socket = socket.create_connection((host, port))
        self.socket.sendall(request)
        self.socket.setblocking(False)
        self.arrivals_s: list[float] = []
        self.done = False
        self._tail = b""

    def read(self) -> int:
        """Take what has come; returns how many events that were."""
        now_s = time.monotonic()
        data = self._tail + self.socket.recv(1 << 16)
        if len(data) == len(self._tail):
            raise WrongStream(f"a stream ended early, after {len(self.arrivals_s)} events: {data!r:.300}")
        events = data.count(_EVENT)
        self.done = _DONE in data
        # An event that a piece ends within is counted with the next one.
        self._tail = data[-len(_EVENT) + 1 :] if not data.endswith(b"\n") else b""
        self.arrivals_s += [now_s] * events
        return events


def _request(host: str, model: str, number: int, max_tokens: int) -> bytes:
    body = json.dumps(
        {
            "model": model,
            "prompt": [1000 + number, *range(2000, 2031)],
            "max_tokens": max_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
        }
    ).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("model")
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--max-tokens", type=int, required=True)
    options = parser.parse_args()
    at = urlsplit(options.url)
    assert at.hostname is not None, f"wanted http://host:port, found {options.url}"
    assert at.port is not None, f"wanted http://host:port, found {options.url}"
    clients = [
        _Client(at.hostname, at.port, _request(at.netloc, options.model, number, options.max_tokens))
        for number in range(options.streams)
    ]
    cpu_s = _follow(clients, options.max_tokens)
    print(json.dumps({"cpu_s": cpu_s, "arrivals_s": clients[0].arrivals_s}), flush=True)


def _follow(clients: list[_Client], max_tokens: int) -> float:
    """Read all streams to their end; returns the processor time between `begun` and `ending`."""
    selector = selectors.DefaultSelector()
    for client in clients:
        selector.register(client.socket, selectors.EVENT_READ, client)
    began_cpu_s = ended_cpu_s = 0.0
    events, open_streams = 0, len(clients)
    while open_streams:
        for key, _ in selector.select():
            client: _Client = key.data
            events += client.read()
            if client.done:
                selector.unregister(client.socket)
                client.socket.close()
                open_streams -= 1
        if not began_cpu_s and all(len(client.arrivals_s) >= _MARGIN for client in clients):
            print("begun", events, flush=True)
            began_cpu_s = time.process_time()
        elif not ended_cpu_s and any(
            client.done or len(client.arrivals_s) >= max_tokens - _MARGIN for client in clients
        ):
            ended_cpu_s = time.process_time()
            print("ending", events, flush=True)
    assert ended_cpu_s, "the streams were too short to be measured"
    return ended_cpu_s - began_cpu_s


if __name__ == "__main__":
    main()
