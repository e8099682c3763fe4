"""What the containers write, shown as they write it: `pagelet up --logs`."""

from pathlib import Path

from pagelet_operator.cli.screen import Screen

_COLUMN = 28


class LogTail:
    """Follows every log file of a folder; whole lines only, each with the name of its pod."""

    def __init__(self, folder: Path, screen: Screen) -> None:
        self._folder = folder
        self._screen = screen
        self._shown_bytes: dict[Path, int] = {}

    def show(self) -> None:
        """Print every line that is new since the last call."""
        for log in sorted(self._folder.glob("*.log")):
            try:
                with log.open("rb") as file:
                    file.seek(self._shown_bytes.get(log, 0))
                    text, end, _ = file.read().rpartition(b"\n")
            except OSError:
                continue  # what cannot be read now is shown when it can
            if not end:
                continue
            self._shown_bytes[log] = self._shown_bytes.get(log, 0) + len(text) + 1
            for line in text.decode("utf-8", "replace").split("\n"):
                self._screen.line(f"{log.stem:>{_COLUMN}} | {line.rstrip().rpartition(chr(13))[2]}")
