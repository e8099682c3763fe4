"""Triton's cache of compiled kernels, with a second folder behind it that is shipped with an engine and never written.

Triton makes one of these for each kernel, by the name in TRITON_CACHE_MANAGER, and gives it nothing but the kernel's
key: where the shipped folder is, the environment says. What is in neither folder is compiled into the first, so the
shipped one may be read-only, incomplete, or not there at all.
"""

import json
import os
from pathlib import Path

from triton.runtime.cache import FileCacheManager

SHIPPED_ENV = "PAGELET_TRITON_CACHE"
"""The shipped folder, as `pagelet warm` made it."""


class ShippedCache(FileCacheManager):  # type: ignore[misc]  # Triton has no types
    def __init__(self, key: str, override: bool = False, dump: bool = False) -> None:
        super().__init__(key, override=override, dump=dump)
        self._folders = [Path(self.cache_dir)]
        if (shipped := os.environ.get(SHIPPED_ENV)) and not override and not dump:
            self._folders.append(Path(shipped, key))

    def get_file(self, filename: str) -> str | None:
        return next((str(path) for folder in self._folders if (path := folder / filename).exists()), None)

    def get_group(self, filename: str) -> dict[str, str] | None:
        """Triton writes down where a group's files were made. They lie beside the list, wherever that is by now."""
        for folder in self._folders:
            try:
                names = json.loads((folder / f"__grp__{filename}").read_text())["child_paths"]
            except (OSError, ValueError, KeyError):
                continue  # there is none, or none whole
            files = {name: folder / name for name in names}
            if all(file.exists() for file in files.values()):
                return {name: str(file) for name, file in files.items()}
        return None
