"""The folder that an import makes: whole, or not there at all.

Everything is written into a temporary folder beside the destination, then renamed. It refuses to know what is written.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pagelet_api.model_folder import MANIFEST

from pagelet_engine.importer.refusal import ImportRefused

_SPARE_BYTES = 64 << 20
"""Left free beside the model: the manifest, file system overhead, and room for others."""


def check_destination(source: Path, destination: Path, overwrite: bool) -> None:
    """Refuse a destination that holds something, before any work is done."""
    if source.resolve().is_relative_to(destination.resolve()):
        raise ImportRefused(f"{destination} holds the source {source}; choose a destination beside it")
    if not destination.exists() and not destination.is_symlink():
        return
    if not destination.is_dir():
        raise ImportRefused(f"{destination} is a file; choose a folder that does not exist yet")
    if not any(destination.iterdir()):
        return
    if not overwrite:
        raise ImportRefused(f"{destination} exists already; choose another folder, or pass --overwrite to replace it")
    if destination.is_symlink() or not (destination / MANIFEST).is_file():
        raise ImportRefused(f"{destination} is not a model folder and will not be replaced; remove it yourself first")


def check_space(folder: Path, wanted_bytes: int, free_bytes: int) -> None:
    """Refuse a model that the file system of `folder` cannot hold."""
    if wanted_bytes + _SPARE_BYTES > free_bytes:
        raise ImportRefused(
            f"too little space in {folder}: the model needs {wanted_bytes / 1e6:,.0f} MB and "
            f"{_SPARE_BYTES / 1e6:,.0f} MB to spare, {free_bytes / 1e6:,.0f} MB are free"
        )


@contextmanager
def new_folder(destination: Path, wanted_bytes: int) -> Iterator[Path]:
    """Yield an empty folder that becomes `destination` when the block ends well, and vanishes when it does not."""
    made = _make_parents(destination.parent)
    temporary: Path | None = None
    try:
        check_space(destination.parent, wanted_bytes, shutil.disk_usage(destination.parent).free)
        temporary = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
        temporary.chmod(0o777 & ~_umask())  # mkdtemp's are for the owner alone; an engine may run as somebody else
        yield temporary
        _rename(temporary, destination)
    except BaseException:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):  # somebody else may have put something there meanwhile
            for parent in reversed(made):
                parent.rmdir()
        raise


def _make_parents(folder: Path) -> list[Path]:
    """Make the folder; return those that were made, outermost first."""
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()][::-1]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImportRefused(f"cannot make the folder {folder}: {error.strerror}") from error
    return made


def _rename(temporary: Path, destination: Path) -> None:
    """Put the new folder in the old one's place; the old one is gone only when the new one is there."""
    if not (destination.exists() and any(destination.iterdir())):
        temporary.rename(destination)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{destination.name}.old.", dir=destination.parent))
    destination.rename(old)
    try:
        temporary.rename(destination)
    except OSError:
        old.rename(destination)
        raise
    shutil.rmtree(old)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
