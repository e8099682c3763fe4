import errno
import io

import pytest
from pagelet_operator.cli.screen import Screen


class Failing(io.StringIO):
    """A stream whose far end takes nothing."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def flush(self) -> None:
        raise OSError(self._number, "")


def test_a_line_that_no_disk_has_room_for_ends_nothing() -> None:
    screen = Screen(Failing(errno.ENOSPC))
    screen.line("Ready.")
    screen.status("1 s", {"engine 0": "loading weights"})


def test_a_reader_that_has_gone_ends_what_it_was_told_of() -> None:
    with pytest.raises(BrokenPipeError):
        Screen(Failing(errno.EPIPE)).line("Ready.")
