"""Container images without a daemon: buildah with a storage of its own, and the archives that it writes.

Owns buildah's command line and how a machine's way to its package index is lent to a build: by mounts, so that a
private CA, pip's and uv's configuration and their caches serve the build and stay out of the image. Refuses to know
which images there are.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .layout import IMAGES, ROOT

_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


class BuildError(Exception):
    """buildah, or what it ran, failed; the message ends with its last lines."""


@dataclass(frozen=True, slots=True)
class Archive:
    """An image as one file that a container runtime imports."""

    reference: str
    """With its tag: localhost/pagelet-gateway:0.1.0."""
    digest: str
    """Of its manifest: sha256:…"""
    path: Path

    @property
    def by_digest(self) -> str:
        """The reference that can never mean another image."""
        return f"{self.reference.rpartition(':')[0]}@{self.digest}"


def build(reference: str, containerfile: Path, *, context: Path, arguments: Mapping[str, str]) -> None:
    """Build the image into buildah's storage. Raises BuildError."""
    settings = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    volumes = [f"--volume={source}:{target}{mode}" for source, target, mode in _lent(IMAGES / "lent")]
    # A timestamp of nothing: the same inputs make the same digest, and a cluster need not replace a pod.
    command = [
        "bud",
        "--isolation=chroot",
        "--layers",
        "--pull-never",
        "--timestamp=0",
        "--format=oci",
        *settings,
        *volumes,
    ]
    buildah(*command, f"--tag={reference}", f"--file={containerfile}", str(context))


def from_files(reference: str, files: Mapping[str, Path], command: Sequence[str]) -> None:
    """An image of nothing but these files (path in the image → file here) and a command."""
    container = buildah("from", "scratch").strip()
    try:
        for target, source in files.items():
            buildah("copy", "--chmod=0755", container, str(source), target)
        buildah("config", f"--entrypoint={json.dumps(list(command))}", container)
        buildah("commit", "--timestamp=0", "--format=oci", container, reference)
    finally:
        buildah("rm", container)


def from_tree(reference: str, tree: Path) -> None:
    """An image of everything in a folder."""
    container = buildah("from", "scratch").strip()
    try:
        buildah("add", container, str(tree), "/")
        buildah("config", '--cmd=["/bin/sh"]', container)
        buildah("commit", "--timestamp=0", "--format=oci", container, reference)
    finally:
        buildah("rm", container)


def push(reference: str, path: Path) -> Archive:
    """Write the archive, uncompressed: it is read once, on this machine."""
    digest_file = path.with_suffix(".digest")
    path.unlink(missing_ok=True)
    target = f"oci-archive:{path}:{reference}"
    buildah("push", "--disable-compression", f"--digestfile={digest_file}", reference, target)
    return Archive(reference, digest_file.read_text().strip(), path)


def buildah(*arguments: str) -> str:
    """Its standard output. Raises BuildError with the last lines of all that it said."""
    done = subprocess.run(_command(*arguments), check=False, capture_output=True, text=True)
    if done.returncode != 0:
        words = "\n".join(f"  {line[:400]}" for line in (done.stdout + done.stderr).splitlines()[-40:])
        raise BuildError(f"buildah {arguments[0]} failed with exit code {done.returncode}\n{words}")
    return done.stdout


def _command(*arguments: str) -> list[str]:
    storage = [f"--root={IMAGES}/storage", f"--runroot={IMAGES}/run"]
    return ["buildah", *storage, arguments[0], *arguments[1:]]


def _lent(folder: Path) -> Sequence[tuple[str, str, str]]:
    """(source, target, mode) of what every RUN of a build sees of this machine."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pip.conf").write_text(_pip_configuration())
    (folder / "uv.toml").write_text(_uv_configuration())
    lent = [(str(folder / "pip.conf"), "/etc/pip.conf", ":ro"), (str(folder / "uv.toml"), "/etc/uv/uv.toml", ":ro")]
    if Path(_CERTIFICATES).exists():
        lent.append((_CERTIFICATES, _CERTIFICATES, ":ro"))
    lent += [(wheels, wheels, ":ro") for wheels in _find_links() if Path(wheels).is_dir()]
    uv = shutil.which("uv") or shutil.which("uv", path=str(ROOT / ".tools" / "bin"))
    if uv is not None:
        lent.append((str(Path(uv).resolve()), "/usr/local/bin/uv", ":ro"))
    for cache in ("pip", "uv"):
        (folder / cache).mkdir(exist_ok=True)
        lent.append((str(folder / cache), f"/root/.cache/{cache}", ""))
    return lent


def _pip_configuration() -> str:
    """What pip heeds on this machine, from its files and its environment, as one file."""
    listed = (
        subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"], check=False, capture_output=True, text=True
        ).stdout
        or subprocess.run(["pip", "config", "list"], check=False, capture_output=True, text=True).stdout
    )
    lines = (line.partition("=") for line in listed.splitlines())
    options = {name.rpartition(".")[2]: value.strip("'\"") for name, _, value in lines}
    options["cert"] = _CERTIFICATES
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in options.items())


def _uv_configuration() -> str:
    """uv reads its own file, and the certificates of the system only when told."""
    lines = ["native-tls = true"]
    if index := os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL") or os.environ.get("PIP_INDEX_URL"):
        lines.append(f"index-url = {json.dumps(index)}")
    if wheels := _find_links():
        lines.append(f"find-links = {json.dumps(wheels)}")
    return "\n".join(lines) + "\n"


def _find_links() -> list[str]:
    return (os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS") or "").replace(",", " ").split()
