"""A volume that many share: folders named by digest, made beside and renamed.

    sha256-<hex>/                 a whole model folder, always
    .partial-<job>-<random>/      somebody's work; `lock` in it is held for as long as they live

Owns those names and who may remove what. Several Jobs, also of several services, may work in one volume at once.
"""

import asyncio
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pagelet_api.model_folder import MANIFEST, ModelFolderError, parse_manifest, read_digest

from pagelet_engine.fetcher.failure import Interrupted
from pagelet_engine.fetcher.place import PARTIAL, sync, sync_tree
from pagelet_engine.importer.refusal import ImportRefused
from pagelet_engine.importer.safetensors_file import read_header

_STALE_S = 24 * 3600
_LOCK = "lock"


class SharedStorage:
    def __init__(self, root: Path, job: str) -> None:
        """`job` names what is fetched: attempts of the same name go on from each other's work."""
        self.root = root
        self._prefix = f"{PARTIAL}-{job}-"

    def existing(self, digest: str) -> Path | None:
        """By the cheap signs: the manifest is the wanted one, its files are there, no weights are cut short.

        A folder is renamed into its place only when it was verified and is on the disk; engines hash it once more.
        """
        folder = self.root / _folder_name(digest) if digest else None
        return folder if folder and _looks_whole(folder, digest) else None

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        self._remove_stale()
        folder, lock = self._adopted() or self._new()
        try:
            yield folder
        except (Interrupted, asyncio.CancelledError):
            os.close(lock)  # the next attempt goes on from here
            raise
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
            raise
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)

    def install(self, model: Path, digest: str) -> Path:
        target = self.root / _folder_name(digest)
        sync_tree(model)
        try:
            model.rename(target)
        except OSError:
            # Not empty: another Job was faster, or what is there is damaged.
            if not target.is_dir():
                raise
            if not _looks_whole(target, digest):
                target.rename(self.root / f"{PARTIAL}-damaged-{secrets.token_hex(8)}")
                model.rename(target)
        sync(self.root)
        return target

    def _new(self) -> tuple[Path, int]:
        folder = self.root / f"{self._prefix}{secrets.token_hex(8)}"
        folder.mkdir()
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        with suppress(OSError):  # a file system without locks: then nobody adopts, and age alone decides
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return folder, lock

    def _adopted(self) -> tuple[Path, int] | None:
        for folder in sorted(self.root.glob(f"{self._prefix}*")):
            lock = _take(folder)
            if lock is not None:
                return folder, lock
        return None

    def _remove_stale(self) -> None:
        """What attempts left that nobody will go on from."""
        for folder in sorted(self.root.glob(f"{PARTIAL}-*")):
            if folder.is_symlink() or not _is_old(folder):
                continue
            lock = _take(folder)
            if lock is not None or not (folder / _LOCK).exists():
                shutil.rmtree(folder, ignore_errors=True)
            if lock is not None:
                os.close(lock)


def _take(folder: Path) -> int | None:
    """The lock of a folder whose owner is gone; None while somebody holds it, or where there are no locks."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_nlink:  # else its owner has just finished and removed it
            return lock
    except OSError:
        pass
    os.close(lock)
    return None


def _is_old(folder: Path) -> bool:
    try:
        newest_s = max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))
    except OSError:  # going away just now
        return False
    return time.time() - newest_s > _STALE_S


def _looks_whole(folder: Path, digest: str) -> bool:
    try:
        if folder.is_symlink() or read_digest(folder) != digest:
            return False
        paths = [folder / path for path in parse_manifest((folder / MANIFEST).read_bytes(), str(folder))]
        for path in paths:
            if path.suffix == ".safetensors":
                read_header(path)
        return all(path.is_file() for path in paths)
    except (OSError, ModelFolderError, ImportRefused):
        return False


def _folder_name(digest: str) -> str:
    return digest.replace(":", "-")
