"""How an import tells how far it is: the interface, and the bar that a person sees."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from tqdm import tqdm

Advance = Callable[[int], None]
"""Called with the bytes done since the last call."""


class Progress(Protocol):
    def __call__(self, title: str, total_bytes: int) -> AbstractContextManager[Advance]:
        """Announce a stretch of work; what is yielded hears of the work done."""
        ...


@contextmanager
def progress_bar(title: str, total_bytes: int) -> Iterator[Advance]:
    """A bar on stderr; silent when that is not a terminal."""
    with tqdm(total=total_bytes, desc=title, unit="B", unit_scale=True, disable=None, leave=False) as bar:

        def advance(num_bytes: int) -> None:
            bar.update(num_bytes)

        yield advance
