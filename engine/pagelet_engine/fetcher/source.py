"""What a source is to the transfer: names with sizes, and byte ranges.

Owns no protocol. A path is as the source spells it, relative to the model's root there; whether it may become a file
here is for `paths` to say.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

Chunk = bytes | memoryview


@dataclass(frozen=True, slots=True)
class RemoteFile:
    path: str
    num_bytes: int
    sha256: str = ""
    """What the source says of its contents; empty: nothing."""
    version: str = ""
    """The source's word for the contents that were listed, so that a file replaced meanwhile is noticed."""


@dataclass(frozen=True, slots=True)
class Listing:
    files: Mapping[str, RemoteFile]
    revision: str = ""
    """The commit, where the source has such a thing."""


class Source(Protocol):
    @property
    def name(self) -> str:
        """What sentences call it: address and place."""
        ...

    @property
    def piece_bytes(self) -> int:
        """How much one request should ask for."""
        ...

    async def listing(self) -> Listing:
        """Raises FetchFailed; also when there is nothing."""
        ...

    def read(self, file: RemoteFile, start: int, end: int) -> AsyncIterator[Chunk]:
        """The bytes from `start` to before `end`, in order; a break raises Interrupted, and what came before counts."""
        ...
