"""Files of a source into a folder: several ranges in flight, broken ones taken up where they broke, sums checked.

Owns the transfer alone: which files, and what becomes of the folder, is for others.
"""

import asyncio
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pagelet_api.model_report import FailureReason

from pagelet_engine.fetcher.failure import FetchFailed, Interrupted
from pagelet_engine.fetcher.patience import Patience, persist
from pagelet_engine.fetcher.progress import Advance
from pagelet_engine.fetcher.source import Chunk, RemoteFile, Source

_IN_FLIGHT = 4
_MOST_TEXT_BYTES = 100 << 20


async def read_text(source: Source, file: RemoteFile, patience_s: float) -> bytes:
    """A small file's bytes. Raises FetchFailed."""
    if file.num_bytes > _MOST_TEXT_BYTES:
        raise FetchFailed(
            FailureReason.MODEL_NOT_SUPPORTED,
            f"{source.name}: {file.path} has {file.num_bytes} bytes, wanted at most {_MOST_TEXT_BYTES}",
        )

    async def read() -> bytes:
        return b"".join([bytes(chunk) async for chunk in source.read(file, 0, file.num_bytes)])

    return await persist(read, patience_s) if file.num_bytes else b""


async def download(
    source: Source, files: Sequence[RemoteFile], folder: Path, advance: Advance, patience_s: float
) -> None:
    """Fetch `files` into `folder`; each is on the disk, and is what its sum says, when this returns.

    A file that is there already, with its sum, is kept. Raises FetchFailed, and OSError for the folder's troubles.
    """
    arrivals = [_Arrival(file, folder / file.path, file.num_bytes) for file in files]
    for arrival in arrivals:
        if await asyncio.to_thread(arrival.is_there):
            arrival.missing_bytes = 0
            advance(arrival.file.num_bytes)
        elif not arrival.missing_bytes:
            arrival.open()
            await asyncio.to_thread(arrival.complete, source.name)
    pieces = iter(
        [
            (arrival, start, min(start + source.piece_bytes, arrival.file.num_bytes))
            for arrival in arrivals
            if arrival.missing_bytes
            for start in range(0, arrival.file.num_bytes, source.piece_bytes)
        ]
    )

    async def work() -> None:
        for arrival, start, end in pieces:  # shared: each piece is taken once
            arrival.open()
            await _fetch_piece(source, arrival, start, end, advance, patience_s)
            arrival.missing_bytes -= end - start
            if not arrival.missing_bytes:
                await asyncio.to_thread(arrival.complete, source.name)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_IN_FLIGHT):
                group.create_task(work())
    except BaseExceptionGroup as troubles:
        raise troubles.exceptions[0] from None


async def _fetch_piece(
    source: Source, arrival: "_Arrival", start: int, end: int, advance: Advance, patience_s: float
) -> None:
    patience = Patience(patience_s)
    while start < end:
        try:
            async for chunk in source.read(arrival.file, start, end):
                await asyncio.to_thread(_write, arrival.descriptor, chunk, start)
                start += len(chunk)
                advance(len(chunk))
                patience.renew()
        except Interrupted as error:
            print(f"{error}; going on at byte {start} of {arrival.file.path}", flush=True)
            await patience.wait(error)


def _write(descriptor: int, chunk: Chunk, offset: int) -> None:
    left = memoryview(chunk)
    while left:
        written = os.pwrite(descriptor, left, offset)
        left, offset = left[written:], offset + written


@dataclass
class _Arrival:
    """One file on its way.

    When a transfer is cut short its descriptor stays open, for as long as the process: a thread may still write to it.
    """

    file: RemoteFile
    path: Path
    missing_bytes: int
    descriptor: int = -1

    def is_there(self) -> bool:
        """Whether an earlier attempt brought it."""
        return (
            bool(self.file.sha256)
            and self.path.is_file()
            and self.path.stat().st_size == self.file.num_bytes
            and _sha256(self.path) == self.file.sha256
        )

    def open(self) -> None:
        if self.descriptor < 0:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)

    def complete(self, source: str) -> None:
        os.fsync(self.descriptor)
        os.close(self.descriptor)
        if self.file.sha256 and (found := _sha256(self.path)) != self.file.sha256:
            raise FetchFailed(
                FailureReason.DIGEST_MISMATCH,
                f"{source}: {self.file.path} is not what it should be: wanted sha256 {self.file.sha256}, "
                f"found {found}; copy the model there again",
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
