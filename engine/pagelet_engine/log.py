"""What a process of the engine says on standard error: a line at a time, and never a reason to end.

A log is a file on a disk that may be full, or a pipe whose reader has gone; the service goes on all the same.
"""

import sys
from contextlib import suppress

MAX_SENTENCE = 1500
"""Characters of a line that we say: Kubernetes shows the last 2 KiB of the log of a container that has ended."""


def say(sentence: str) -> None:
    """One line, whatever the sentence quotes: the last one is what a person is shown."""
    with suppress(OSError):
        print(f"pagelet engine: {' '.join(sentence.split())[:MAX_SENTENCE]}", file=sys.stderr, flush=True)


def pass_on(piece: bytes) -> None:
    """Bytes that another process said, as they are."""
    with suppress(OSError):
        sys.stderr.buffer.write(piece)
        sys.stderr.buffer.flush()


def flush() -> None:
    """Before an end that would lose what is buffered."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
