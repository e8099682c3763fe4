"""What `pagelet up` shows while it runs: lines that stay, and on a terminal one line that changes.

Knows terminals; knows nothing about pods.
"""

import re
import shutil
import sys
from collections.abc import Mapping
from typing import TextIO


class Screen:
    """Elsewhere than on a terminal, each entry of the status is a line of its own, printed when its words change."""

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._drawn = ""
        self._said: dict[str, str] = {}

    def line(self, text: str = "") -> None:
        """Print lines that stay."""
        drawn = self._drawn
        self._draw("")
        self._print(f"{text}\n")
        self._draw(drawn)

    def status(self, elapsed: str, entries: Mapping[str, str]) -> None:
        """Show what is being waited for, by who is waited for; nothing, when `entries` is empty."""
        if self._live:
            self._draw(f"{elapsed}  {' · '.join(f'{who}: {what}' for who, what in entries.items())}" if entries else "")
            return
        for who, what in entries.items():
            words = re.sub(r"[\d.,]+", "#", what)
            if self._said.get(who) != words:
                self._print(f"{elapsed}  {who}: {what}\n")
            self._said[who] = words

    def _draw(self, text: str) -> None:
        """Replace the changing line."""
        if not self._live:
            return
        text = text[: shutil.get_terminal_size().columns - 1]
        if text != self._drawn:
            self._print(f"\r\x1b[K{text}")
            self._drawn = text

    def _print(self, text: str) -> None:
        """On a full disk a line is lost, which is no reason to end what it tells of. A reader that has gone is one."""
        try:
            print(text, end="", file=self._stream, flush=True)
        except BrokenPipeError:
            raise
        except OSError:
            pass
