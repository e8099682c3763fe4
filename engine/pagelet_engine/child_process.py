"""What every process that an engine starts has in common: it dies with its parent, and its end can be told in words."""

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Die when the process that started this one dies, however it does; leave signals from a terminal or a runtime to
    it. On Linux alone: elsewhere, a closed pipe must do."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        # A process that is loading, or in a long step, does not notice that its pipe has closed.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def describe_exit(code: int) -> str:
    """How a process ended, in words: an exit code is negative for a signal, as subprocess has it."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
