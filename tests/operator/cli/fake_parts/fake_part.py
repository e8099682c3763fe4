"""What the two fake parts have in common: an ops listener, a journal, and an end on SIGTERM."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def journal(text: str) -> None:
    with Path(os.environ["FAKE_JOURNAL"]).open("a") as file:
        file.write(f"{text}\n")


def serve(name: str, ready: Callable[[argparse.Namespace], str]) -> None:
    """Answer probes on --ops-port; `ready` returns what is still waited for, empty when nothing is."""
    parser = argparse.ArgumentParser()
    for option in ("--model", "--config", "--grpc-port", "--ops-port", "--http-port"):
        parser.add_argument(option)
    options = parser.parse_args()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            waits_for = ready(options) if self.path == "/ready" else ""
            self.send_response(503 if waits_for else 200)
            self.end_headers()
            self.wfile.write(f"{waits_for or 'ok'}\n".encode())

        def log_message(self, *_: object) -> None:
            pass

    def end(*_: object) -> None:
        journal(f"{name} ended")
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    journal(f"{name} started {os.getpid()}")
    print(f"{name} says hello", flush=True)
    address = os.environ["PAGELET_LISTEN_ADDRESS"]
    ThreadingHTTPServer((address, int(options.ops_port)), Answers).serve_forever()
