"""A container of a few lines for tests of the runtime: an HTTP server whose answers are files in a folder.

    python fake_container.py FOLDER [--ignore-sigterm] [--child] [--die-without-ready]

`FOLDER/ready` and `FOLDER/live` exist: the paths /ready and /live answer 200, else 503. `FOLDER/journal` gets a line
for each start and for SIGTERM. The port is $PORT at $PAGELET_LISTEN_ADDRESS.
"""

import os
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

folder, flags = Path(sys.argv[1]), sys.argv[2:]


def write(text: str) -> None:
    with (folder / "journal").open("a") as journal:
        journal.write(f"{text}\n")


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/crash":
            os._exit(7)
        if self.path == "/environment":
            self.answer(200, os.environ[self.headers["Name"]])
            return
        good = (folder / self.path.strip("/")).exists()
        self.answer(200 if good else 503, '{"phase": "loading weights"}')

    def answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


def end(*_: object) -> None:
    write("terminated")
    if "--ignore-sigterm" not in flags:
        sys.exit(0)


signal.signal(signal.SIGTERM, end)
write(f"started {os.getpid()}")
print("hello from the container", flush=True)
if "--die-without-ready" in flags:
    sys.exit("there is no model here")
if "--child" in flags:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    write(f"child {child.pid}")
HTTPServer((os.environ["PAGELET_LISTEN_ADDRESS"], int(os.environ["PORT"])), Answers).serve_forever()
