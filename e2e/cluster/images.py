"""The images that the cluster runs: which there are, of what they are made, and whether they must be made again.

Owns the cache in build/e2e/images: an archive an image, with a hash of everything that went into it beside it. How an
image is built, `buildah` knows; who runs it, nobody here.
"""

import fcntl
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from . import buildah, dns, node
from .buildah import Archive
from .layout import BINARIES, IMAGES, ROOT
from .remains import remove_empty, unmount_below

BASE = "localhost/pagelet-e2e-base:bookworm"
VERSION = "0.1.0"

_LEAST_FREE_BYTES = 24 << 30
"""With less free, the steps of earlier builds are forgotten before the next. The engine's, with torch, takes 16 GB."""
_SOURCES: Mapping[str, Sequence[str]] = {
    "engine": ("engine",),
    "gateway": ("engine/pagelet_api", "gateway"),
    "operator": ("engine", "operator"),
}
"""What runs in each image. The others' packages are in it too, unused: their change is no reason to build it again."""
_BASE_PACKAGES = ("python3", "python3-venv", "ca-certificates")
_TRACES = (Path("/var/lib/containers/cache/blob-info-cache-v1.boltdb"), Path("/etc/cni/net.d/cni.lock"))
_PROSE = ("doc", "man", "locale")
_NOT_IN_BASE = ("var/cache/apt/*", "var/lib/apt/lists/*", "var/log/*", *(f"usr/share/{kind}/*" for kind in _PROSE))
_NOT_SOURCES = ("__pycache__", ".pyc", ".so", ".egg-info")


def sandbox_image() -> Archive:
    """What holds a pod's network namespace: a program that sleeps."""
    busybox = Path(shutil.which("busybox") or "/bin/busybox")
    return _of_files(node.SANDBOX_IMAGE, {"/busybox": busybox}, ["/busybox", "sleep", "2147483647"])


def dns_image() -> Archive:
    return _of_files(dns.IMAGE, {"/coredns": BINARIES / "coredns"}, ["/coredns"])


def base_image() -> Archive:
    """Debian 12 with Python 3.11, from the machine's own Debian mirror; the image does not say which."""
    return _cached(BASE, _hash([], *_BASE_PACKAGES), _make_base)


def pagelet_image(part: str, arguments: Mapping[str, str] | None = None) -> Archive:
    """The image of a part of the product, images/PART/Containerfile, as localhost/pagelet-PART:0.1.0.

    Built again when the Containerfile, its locks or what runs in it has changed. The context is the repository.
    """
    containerfile = ROOT / "images" / part / "Containerfile"
    locks = ("pyproject.toml", "hatch_build.py", "requirements/build.txt", f"requirements/{part}.txt")
    sources = [ROOT / name for name in (*locks, *_SOURCES[part])]
    if part == "engine":  # no GPU here runs Triton's kernels, and the base image has no packages to install
        arguments = {"COMPILER": "none", **(arguments or {})}
    return built_image(f"localhost/pagelet-{part}:{VERSION}", containerfile, sources, arguments)


def built_image(
    reference: str, containerfile: Path, sources: Sequence[Path], arguments: Mapping[str, str] | None = None
) -> Archive:
    """Any image of the context ROOT; its Containerfile gets the base image as build argument BASE, and `arguments`."""
    base = base_image()
    settings = {"BASE": BASE, **(arguments or {})}
    inputs = _hash([containerfile, *sources], base.digest, json.dumps(settings, sort_keys=True))
    make = partial(buildah.build, reference, containerfile, context=ROOT, arguments=settings)
    return _cached(reference, inputs, make)


def _of_files(reference: str, files: Mapping[str, Path], command: Sequence[str]) -> Archive:
    inputs = _hash(list(files.values()), *files, *command)
    return _cached(reference, inputs, partial(buildah.from_files, reference, files, command))


def _cached(reference: str, inputs: str, make: Callable[[], None]) -> Archive:
    """The archive of `reference` made of these inputs, built unless it is there."""
    path = IMAGES / f"{reference.rpartition('/')[2].replace(':', '-')}.tar"
    # Asked before the lock is taken, too: nobody waits for another's build who needs nothing built.
    if found := _found(reference, path, inputs):
        return found
    with _storage():
        if found := _found(reference, path, inputs):
            return found
        path.with_suffix(".json").unlink(missing_ok=True)
        buildah.tidy(_LEAST_FREE_BYTES)
        make()
        archive = buildah.push(reference, path)
        path.with_suffix(".json").write_text(json.dumps({"inputs": inputs, "digest": archive.digest}) + "\n")
        return archive


def _found(reference: str, path: Path, inputs: str) -> Archive | None:
    note = path.with_suffix(".json")
    if path.exists() and note.exists():
        written = json.loads(note.read_text())
        if written["inputs"] == inputs:
            return Archive(reference, written["digest"], path)
    return None


@contextmanager
def _storage() -> Iterator[None]:
    """buildah's storage for one process at a time, and buildah's traces elsewhere removed.

    A folder which it leaves mounted would keep `make clean` from its work.
    """
    IMAGES.mkdir(parents=True, exist_ok=True)
    traces = [path for path in _TRACES if not path.exists()]
    with (IMAGES / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            unmount_below(IMAGES)
            for path in traces:
                path.unlink(missing_ok=True)
                remove_empty(path.parents[1])


def _hash(paths: Sequence[Path], *words: str) -> str:
    """SHA-256 of the words and of all files' names and contents, folders with everything in them."""
    digest = hashlib.sha256()
    for word in words:
        digest.update(word.encode() + b"\0")
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and not any(mark in str(file) for mark in _NOT_SOURCES):
                digest.update(file.relative_to(path.parent).as_posix().encode() + b"\0")
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _make_base() -> None:
    tree = IMAGES / "base"
    shutil.rmtree(tree, ignore_errors=True)
    mirror = _debian_mirror()
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(_BASE_PACKAGES)}", "bookworm", str(tree)]
    done = subprocess.run([*command, *([mirror] if mirror else [])], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise buildah.BuildError(f"debootstrap failed\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    unmount_below(tree)
    for path in (path for pattern in _NOT_IN_BASE for path in tree.glob(pattern)):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    # Of this machine, nothing.
    for name in ("etc/apt/sources.list", "etc/resolv.conf", "etc/hostname"):
        (tree / name).write_text("")
    (tree / "etc/pip.conf").touch()  # where builds find what is lent to them
    buildah.from_tree(BASE, tree)
    shutil.rmtree(tree)


def _debian_mirror() -> str | None:
    """The one that this machine installs from, if it is a Debian; otherwise debootstrap's own."""
    files = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    for line in (line for path in files if path.is_file() for line in path.read_text().splitlines()):
        words = line.split()
        if words[:1] == ["URIs:"] and words[1].rstrip("/").endswith("/debian"):
            return words[1]
        if words[:1] == ["deb"] and (found := [word for word in words if word.rstrip("/").endswith("/debian")]):
            return found[0]
    return None
