"""A pod's container as a process of this machine: folders for its volumes, its command and environment resolved.

Owns the layout of the state folder. Writes files, starts nothing.
"""

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pagelet_api import names

from pagelet_operator.local.container import Invocation
from pagelet_operator.local.expansion import expand, expand_environment, rewrite_paths
from pagelet_operator.local.pod import ConfigMapVolume, Container, EmptyDirVolume, HostPathVolume, Pod, UnsupportedPod


@dataclass(frozen=True, slots=True)
class StateFolder:
    """Everything a local service writes: `hosts`, `logs/<pod>.log`, `pods/<pod>/…`."""

    path: Path

    @property
    def hosts(self) -> Path:
        return self.path / "hosts"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def clear(self) -> None:
        """Remove what an earlier run left, and make the folders of this one."""
        shutil.rmtree(self.path / "pods", ignore_errors=True)
        shutil.rmtree(self.logs, ignore_errors=True)
        self.hosts.unlink(missing_ok=True)
        self.logs.mkdir(parents=True)

    def write_hosts(self, text: str) -> None:
        """Replace the hosts file at once: its readers see the old one or the new one."""
        partial = self.path / ".hosts.partial"
        partial.write_text(text)
        partial.replace(self.hosts)


def make_invocation(pod: Pod, container: Container, state: StateFolder, inherited: Mapping[str, str]) -> Invocation:
    """Prepare one container's folders and return what to run. Raises UnsupportedPod.

    `inherited` is this machine's environment, in the place of an image's.
    """
    home = state.path / "pods" / pod.name
    root = home / "root"
    root.mkdir(parents=True, exist_ok=True)
    volumes = _make_volumes(pod, home / "volumes")
    folders = {mount.path: str(volumes[mount.volume] / mount.sub_path) for mount in container.mounts}
    declared = {
        name: rewrite_paths(value, folders) for name, value in expand_environment(container.environment).items()
    }
    environment = {
        **inherited,
        "PYTHONUNBUFFERED": "1",
        **declared,
        names.LISTEN_ADDRESS_ENV: pod.address,
        names.HOSTS_FILE_ENV: str(state.hosts),
    }
    command = [rewrite_paths(expand(word, declared), folders) for word in container.command]
    if command[0] in ("python", "python3"):
        command[0] = sys.executable
    log_name = pod.name if len(pod.containers) == 1 else f"{pod.name}.{container.name}"
    return Invocation(
        name=container.name,
        command=command,
        environment=environment,
        folder=root,
        log=state.logs / f"{log_name}.log",
        address=pod.address,
        grace_s=pod.grace_s,
    )


def _make_volumes(pod: Pod, home: Path) -> dict[str, Path]:
    folders = {}
    for name, volume in pod.volumes.items():
        folder = home / name
        match volume:
            case HostPathVolume(path):
                folder = Path(path)
                if not folder.exists():
                    raise UnsupportedPod(f"pod {pod.name}: volume {name}: there is no {path} on this machine")
            case ConfigMapVolume(files):
                folder.mkdir(parents=True, exist_ok=True)
                for file_name, content in files.items():
                    (folder / file_name).write_text(content)
            case EmptyDirVolume():
                folder.mkdir(parents=True, exist_ok=True)
        folders[name] = folder
    return folders
