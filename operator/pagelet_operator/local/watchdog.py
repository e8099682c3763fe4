"""A process that outlives `pagelet up` by a moment: kills the containers of a runtime that was killed itself.

Both ends of it: `Watchdog` is the runtime's, `main` the process's. They share a pipe, over which the runtime says which
process groups exist. When the pipe closes, for whatever reason, every group still known is killed. So no `kill -9` and
no crash leaves an engine behind that holds ports and gigabytes. Runs as a plain script and imports the standard library
only: it starts in a few milliseconds and lives as long as the runtime.
"""

import contextlib
import os
import signal
import subprocess
import sys


class Watchdog:
    """The runtime's end. Groups are named by their leader's process id."""

    def __init__(self) -> None:
        # A session of its own: Ctrl-C in the terminal must not reach it.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def guard(self, group: int) -> None:
        self._say(f"+{group}")

    def release(self, group: int) -> None:
        """The group is gone: its number may soon belong to someone else."""
        self._say(f"-{group}")

    def close(self) -> None:
        """Kill every group that is still guarded, and end the process."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        # A dead watchdog is a lost safety net, no reason to take the service down.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{line}\n".encode("ascii"))
            self._process.stdin.flush()


def main() -> None:
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
