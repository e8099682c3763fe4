"""How long a server's loop was held, seen from outside: `loop_probe.py URL PID` asks for a small answer, over and over.

An answer may also be late because the machine had no processor free for the server, or for this probe: the kernel
counts that for each thread (/proc/PID/task/TID/schedstat), and the hypervisor's share in /proc/stat; both are taken
off. So what is left is the server's own, however busy the machine is. It runs until its input ends, and says one line
of JSON: every answer as [asked, answered, seconds held], times on `time.monotonic()`.
"""

import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

INTERVAL_S = 0.01
_SILENCE_LIMIT_S = 60
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def _waited_s(pid: int) -> float:
    """How long the threads of a process have waited for a processor."""
    waited_ns = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            waited_ns += int((task / "schedstat").read_text().split()[1])
        except (OSError, IndexError):  # it has ended, or this kernel does not count
            continue
    return waited_ns / 1e9


def _stolen_s() -> float:
    """How long the machine's processors were not its own."""
    return int(Path("/proc/stat").read_text().split("\n", 1)[0].split()[8]) / _TICKS_PER_S


def _excused_s(pid: int) -> float:
    return _waited_s(pid) + _waited_s(os.getpid()) + _stolen_s()


def main() -> None:
    url, pid = sys.argv[1], int(sys.argv[2])
    at = urlsplit(url)
    request = f"GET /health HTTP/1.1\r\nHost: {at.netloc}\r\n\r\n".encode()
    answers: list[tuple[float, float, float]] = []
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    with socket.create_connection((at.hostname or "", at.port or 80), timeout=_SILENCE_LIMIT_S) as connection:
        print("ready", flush=True)
        while not ended.wait(INTERVAL_S):
            excused_s, asked_s = _excused_s(pid), time.monotonic()
            try:
                connection.sendall(request)
                if not connection.recv(1 << 16):
                    break
            except OSError:
                break
            answered_s = time.monotonic()
            held_s = answered_s - asked_s - (_excused_s(pid) - excused_s)
            answers.append((asked_s, answered_s, max(0.0, held_s)))
        else:
            asked_s = 0.0
    if asked_s:  # there was no answer
        answers.append((asked_s, time.monotonic(), time.monotonic() - asked_s))
    print(json.dumps(answers), flush=True)


if __name__ == "__main__":
    main()
