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
        print(text, file=self._stream, flush=True)
        self._draw(drawn)

    def status(self, elapsed: str, entries: Mapping[str, str]) -> None:
        """Show what is being waited for, by who is waited for; nothing, when `entries` is empty."""
        if self._live:
            self._draw(f"{elapsed}  {' · '.join(f'{who}: {what}' for who, what in entries.items())}" if entries else "")
            return
        for who, what in entries.items():
            words = re.sub(r"[\d.,]+", "#", what)
            if self._said.get(who) != words:
                print(f"{elapsed}  {who}: {what}", file=self._stream, flush=True)
            self._said[who] = words

    def _draw(self, text: str) -> None:
        """Replace the changing line."""
        if not self._live:
            return
        text = text[: shutil.get_terminal_size().columns - 1]
        if text != self._drawn:
            print(f"\r\x1b[K{text}", end="", file=self._stream, flush=True)
            self._drawn = text
