"""Container images without a daemon: buildah with a storage of its own, and the archives that it writes.

Owns buildah's command line and how a machine's way to its package index is lent to a build: by mounts, so that a
private CA, pip's configuration and its cache serve the build and stay out of the image. Refuses to know which images
there are.
"""

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .layout import IMAGES

_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_PIP_CACHE = "/root/.cache/pip"


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


def tidy(least_free_bytes: int) -> None:
    """Remove what builds that were killed have left; and where the disk has less free, every image without a name."""
    buildah("rm", "--all")
    if shutil.disk_usage(IMAGES).free < least_free_bytes:
        buildah("rmi", "--prune")


def push(reference: str, path: Path) -> Archive:
    """Write the archive, hardly compressed: it is read once, on this machine.

    zstd at its fastest: buildah 1.28 heeds `--disable-compression` for no kind of OCI archive, and gzip takes 3 times
    as long.
    """
    digest_file = path.with_suffix(".digest")
    path.unlink(missing_ok=True)
    target = f"oci-archive:{path}:{reference}"
    fast = ["--compression-format=zstd", "--compression-level=1"]
    buildah("push", *fast, f"--digestfile={digest_file}", reference, target)
    return Archive(reference, digest_file.read_text().strip(), path)


def buildah(*arguments: str) -> str:
    """Its standard output. Raises BuildError with the last lines of all that it said."""
    done = subprocess.run(_command(*arguments), check=False, capture_output=True, text=True)
    if done.returncode != 0:
        words = "\n".join(f"  {_shortened(line)}" for line in (done.stdout + done.stderr).splitlines()[-40:])
        raise BuildError(f"buildah {arguments[0]} failed with exit code {done.returncode}\n{words}")
    return done.stdout


def _shortened(line: str) -> str:
    """buildah says at a line's end what was wrong."""
    return line if len(line) <= 600 else f"{line[:200]} … {line[-400:]}"


def _command(*arguments: str) -> list[str]:
    storage = [f"--root={IMAGES}/storage", f"--runroot={IMAGES}/run"]
    return ["buildah", *storage, arguments[0], *arguments[1:]]


def _lent(folder: Path) -> Sequence[tuple[str, str, str]]:
    """(source, target, mode) of what every RUN of a build sees of this machine.

    buildah leaves an empty file or folder in an image where something was lent; so nothing is lent under a path that
    says anything of this machine.
    """
    options = _pip_options()
    wheels = [path for path in options.get("find-links", "").split() if Path(path).is_dir()]
    lent = [(path, f"/run/wheels-{number}", ":ro") for number, path in enumerate(wheels)]
    if lent:
        options["find-links"] = " ".join(target for _, target, _ in lent)
    if Path(_CERTIFICATES).exists():
        options["cert"] = _CERTIFICATES
        lent.append((_CERTIFICATES, _CERTIFICATES, ":ro"))
    configuration, cache = folder / "pip.conf", folder / "pip"
    cache.mkdir(parents=True, exist_ok=True)
    configuration.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in options.items()))
    return [*lent, (str(configuration), "/etc/pip.conf", ":ro"), (str(cache), _PIP_CACHE, "")]


def _pip_options() -> dict[str, str]:
    """What pip heeds on this machine, from its files and its environment."""
    pip = shutil.which("pip3") or shutil.which("pip")
    command = [pip, "config", "list"] if pip else [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    lines = (line.partition("=") for line in listed.splitlines())
    return {name.rpartition(".")[2]: str(ast.literal_eval(value)) for name, _, value in lines if value}
