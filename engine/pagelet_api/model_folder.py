"""A verified model folder: its files, their manifest, and the digest that names the whole.

    config.json  *.safetensors  tokenizer.json  tokenizer_config.json  [chat_template.jinja]  [generation_config.json]
    manifest.sha256    one line a file, sorted by path, every file but itself, as `sha256sum -c` reads it

The digest is "sha256:" and the SHA-256 of the manifest's bytes: it names every byte of the folder. This module hashes
files and reads them as JSON; it refuses to know what they mean.
"""

import hashlib
import json
import os
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

MANIFEST = "manifest.sha256"
REQUIRED_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")
WEIGHTS_SUFFIX = ".safetensors"

Progress = Callable[[int], None]
"""Called with the bytes hashed since the last call; never from two threads at once."""

# Names that sha256sum writes without escapes, and that have an encoding (undecodable bytes arrive as surrogates).
_NAME = re.compile(r"[^\r\n\\\ud800-\udfff]+")
_LINE = re.compile(rf"(?P<sha256>[0-9a-f]{{64}}) [ *](?P<path>{_NAME.pattern})")
_CHUNK_BYTES = 1 << 20
_SHOWN = 3


class ModelFolderError(Exception):
    """A folder that is not the model it should be; the message says which file, what was wanted and what to do."""


class OtherBytesError(ModelFolderError):
    """Everything is there, but a digest or a sum is another one than wanted."""


def total_bytes(folder: Path) -> int:
    """Bytes that `write_manifest` and `verify` hash: the length of a progress bar."""
    return sum((folder / path).stat().st_size for path in _files(folder))


def write_manifest(folder: Path, progress: Progress | None = None) -> str:
    """Hash every file of the folder, write its manifest and return its digest.

    Raises ModelFolderError when a required file is missing or a name cannot be listed.
    """
    files = _files(folder)
    _check_complete(folder, files)
    sums = _hash(folder, files, progress)
    text = "".join(f"{sums[path]}  {path}\n" for path in files).encode()
    # Written beside and renamed: a manifest is whole or not there.
    partial = folder / f".{MANIFEST}.partial"
    partial.write_bytes(text)
    partial.replace(folder / MANIFEST)
    return digest_of(text)


def read_digest(folder: Path) -> str:
    """The digest of the folder as its manifest states it; no file is hashed."""
    return digest_of(_manifest_bytes(folder))


def verify(folder: Path, wanted_digest: str = "", progress: Progress | None = None) -> str:
    """Check that the folder holds exactly the files its manifest lists, with those bytes; return its digest.

    With `wanted_digest`, the manifest itself must be that one. Cheap checks come first: a wrong digest or a missing
    file is reported before anything is hashed. Raises ModelFolderError.
    """
    text = _manifest_bytes(folder)
    digest = digest_of(text)
    if wanted_digest and wanted_digest != digest:
        raise OtherBytesError(
            f"{folder} is another model: wanted digest {wanted_digest}, found {digest}; "
            "correct model.digest, or import the wanted model"
        )
    listed = parse_manifest(text, str(folder / MANIFEST))
    files = _files(folder)
    if absent := sorted(listed.keys() - set(files)):
        raise ModelFolderError(f"{folder}: {_names(absent)} in {MANIFEST} but not in the folder; import it again")
    if unlisted := sorted(set(files) - listed.keys()):
        raise ModelFolderError(
            f"{folder}: {_names(unlisted)} in the folder but not in {MANIFEST}; remove it, or import the model again"
        )
    _check_complete(folder, files)
    sums = _hash(folder, files, progress)
    if changed := [path for path in files if sums[path] != listed[path]]:
        raise OtherBytesError(
            f"{folder}: {_names(changed)} not what {MANIFEST} says: wanted sha256 {listed[changed[0]]}, "
            f"found {sums[changed[0]]}; the file was changed or cut short, import the model again"
        )
    return digest


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object in a file such as config.json. Raises ModelFolderError for anything else."""
    try:
        value = json.loads(file.read_bytes())
    except OSError as error:
        raise ModelFolderError(f"cannot read {file}: {error.strerror}; is this a model folder?") from error
    except ValueError as error:
        raise ModelFolderError(f"{file} is not JSON: {error}; fetch it again") from error
    if not isinstance(value, dict):
        raise ModelFolderError(f"{file}: wanted a JSON object, found {type(value).__name__}")
    return value


def parse_manifest(text: bytes, name: str) -> Mapping[str, str]:
    """Path → sha256 of a manifest in the one form we write: complete lines, paths unique, sorted and inside.

    Raises ModelFolderError, which calls the manifest `name`.
    """
    sums: dict[str, str] = {}
    lines = text.decode("utf-8", "replace").removesuffix("\n").split("\n")
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if not match:
            raise ModelFolderError(f"{name}: line {number}: wanted '<sha256>  <path>', found {line!r:.80}")
        path = match["path"]
        if path.startswith("/") or ".." in path.split("/") or path in sums:
            raise ModelFolderError(f"{name}: line {number}: {path!r} is listed twice or is not inside")
        sums[path] = match["sha256"]
    return sums


def digest_of(manifest: bytes) -> str:
    """The digest of the folder that has these bytes as its manifest."""
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def _manifest_bytes(folder: Path) -> bytes:
    if not folder.is_dir():
        raise ModelFolderError(f"{folder}: wanted a model folder, found {'a file' if folder.exists() else 'nothing'}")
    try:
        return (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise ModelFolderError(
            f"{folder} has no {MANIFEST}: not a verified model folder; make one with `pagelet import SOURCE FOLDER`"
        ) from None
    except OSError as error:
        raise ModelFolderError(f"cannot read {folder / MANIFEST}: {error.strerror}") from error


def _files(folder: Path) -> list[str]:
    """All files but the manifest, as sorted POSIX paths relative to the folder."""
    if not folder.is_dir():
        raise ModelFolderError(f"{folder}: wanted a model folder, found {'a file' if folder.exists() else 'nothing'}")

    def refuse(error: OSError) -> None:
        raise ModelFolderError(f"cannot list {error.filename}: {error.strerror}") from error

    paths = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        if "lost+found" in folders and Path(parent) == folder:
            folders.remove("lost+found")  # the file system's own, in the root of a volume, readable by root alone
        for name in (*folders, *names):
            file = Path(parent, name)
            path = file.relative_to(folder).as_posix()
            if file.is_symlink() or not (file.is_file() or file.is_dir()):
                raise ModelFolderError(f"{file}: wanted a plain file, found a link or a device; copy the file itself")
            if not _NAME.fullmatch(path):
                raise ModelFolderError(
                    f"{folder}: the name {path!r} has a line break, a backslash or is not UTF-8; rename the file"
                )
            if file.is_file() and path != MANIFEST:
                paths.append(path)
    return sorted(paths)


def _check_complete(folder: Path, files: list[str]) -> None:
    missing = [name for name in REQUIRED_FILES if name not in files]
    if not any(path.endswith(WEIGHTS_SUFFIX) for path in files):
        missing.append(f"*{WEIGHTS_SUFFIX}")
    if missing:
        raise ModelFolderError(f"{folder} is not a whole model: missing {', '.join(missing)}")


def _hash(folder: Path, files: list[str], progress: Progress | None) -> dict[str, str]:
    """SHA-256 of each file, in threads: hashlib gives up the interpreter's lock while it works."""
    lock = threading.Lock()

    def hash_one(path: str) -> str:
        sha256, buffer = hashlib.sha256(), memoryview(bytearray(_CHUNK_BYTES))
        with (folder / path).open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                sha256.update(buffer[:count])
                if progress:
                    with lock:
                        progress(count)
        return sha256.hexdigest()

    try:
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            return dict(zip(files, pool.map(hash_one, files), strict=True))
    except OSError as error:
        raise ModelFolderError(f"cannot read {error.filename}: {error.strerror}") from error


def _names(paths: list[str]) -> str:
    shown = ", ".join(paths[:_SHOWN])
    rest = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return f"{shown}{rest} {'is' if len(paths) == 1 else 'are'}"
