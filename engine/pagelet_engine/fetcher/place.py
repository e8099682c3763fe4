"""Where a fetched model lands: what the transfer needs of a place, and what all places share."""

import errno
import os
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from pagelet_api.model_report import FailureReason

from pagelet_engine.fetcher.failure import FetchFailed
from pagelet_engine.importer.destination import check_space
from pagelet_engine.importer.refusal import ImportRefused

PARTIAL = ".partial"
LOST_AND_FOUND = "lost+found"  # the file system's own, in the root of a volume

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Place(Protocol):
    """A folder in which models appear whole, or not at all."""

    @property
    def root(self) -> Path: ...

    def existing(self, digest: str) -> Path | None:
        """The model folder that is here already. An empty digest: the only one, where there is only one."""
        ...

    def workspace(self) -> AbstractContextManager[Path]:
        """A folder that nobody else works in, with what an earlier attempt left in it. Gone after the block, unless the
        block ends with something that the next attempt can go on from."""
        ...

    def install(self, model: Path, digest: str) -> Path:
        """Move a whole model folder out of the workspace to where it is seen; returns where."""
        ...


def check_room(root: Path, wanted_bytes: int) -> None:
    """Raises FetchFailed, with the numbers, when the file system cannot hold that much more."""
    try:
        check_space(root, wanted_bytes, shutil.disk_usage(root).free)
    except ImportRefused as error:
        raise FetchFailed(
            FailureReason.TOO_LITTLE_STORAGE, f"{error}; make the volume larger, or remove models from it"
        ) from error


def storage_failure(error: OSError, root: Path) -> FetchFailed:
    """What an error of the file system means."""
    if error.errno in _FULL:
        free_bytes = shutil.disk_usage(root).free if root.is_dir() else 0
        return FetchFailed(
            FailureReason.TOO_LITTLE_STORAGE,
            f"the storage ran full while the model was written ({error.strerror}; {free_bytes / 1e6:,.0f} MB are free "
            "now): make the volume or its quota larger, or remove models from it",
        )
    return FetchFailed(
        FailureReason.INTERNAL,
        f"cannot write the model: {error.strerror or error} ({error.filename or root}); user {os.getuid()} of group "
        f"{os.getgid()} must be able to write to the volume",
    )


def sync_tree(folder: Path) -> None:
    """Have every file and folder below on the disk."""
    for parent, _, names in os.walk(folder):
        for path in (*(Path(parent, name) for name in names), Path(parent)):
            sync(path)


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def total_size(folder: Path) -> int:
    """Bytes on the disk of what an earlier attempt left."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
