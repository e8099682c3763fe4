"""A folder for one model that lives and goes with a pod. A container that is started again finds what it left."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pagelet_api.model_folder import MANIFEST, ModelFolderError, verify
from pagelet_api.model_report import FailureReason

from pagelet_engine.fetcher.failure import FetchFailed
from pagelet_engine.fetcher.place import LOST_AND_FOUND, PARTIAL, sync_tree


class PodFolder:
    """The manifest comes last: a folder that has one is whole."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def existing(self, digest: str) -> Path | None:
        if not (self.root / MANIFEST).is_file():
            return None
        shutil.rmtree(self.root / PARTIAL, ignore_errors=True)
        try:
            verify(self.root, digest)
        except ModelFolderError as error:
            print(f"{error}; fetching it anew", flush=True)
            self._clear()
            return None
        return self.root

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        folder = self.root / PARTIAL
        # Files beside the work were moved there by an attempt that did not come to its end; without work they are
        # somebody's.
        if folder.is_dir():
            self._clear(keep=PARTIAL)
        elif found := [path.name for path in self._entries()]:
            raise FetchFailed(
                FailureReason.INTERNAL, f"{self.root} holds {found[0]} and is no model folder: wanted an empty folder"
            )
        folder.mkdir(exist_ok=True)
        yield folder
        shutil.rmtree(folder)

    def install(self, model: Path, digest: str) -> Path:
        sync_tree(model)
        for path in sorted(model.iterdir(), key=lambda path: path.name == MANIFEST):
            path.rename(self.root / path.name)
        return self.root

    def _clear(self, keep: str = "") -> None:
        for path in self._entries():
            if path.name == keep:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _entries(self) -> list[Path]:
        return sorted(path for path in self.root.iterdir() if path.name != LOST_AND_FOUND)
