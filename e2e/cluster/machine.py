"""A cluster that this machine runs: brought up, taken down, and broken on request.

A thin action around what `control_plane`, `node` and `kwok` decide: it starts, waits and stops, in the right order.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from . import control_plane, dns, images, kwok, node, remains
from .account import is_ready
from .buildah import Archive
from .cluster import Cluster, CommandError
from .credentials import write_credentials
from .layout import BINARIES, BUILD, Layout
from .program import Program, ProgramError, Programs
from .waiting import wait_for

API_SERVER = "kube-apiserver"


class MachineError(Exception):
    """The machine cannot run the cluster; the message says what to do."""


class Machine:
    """One layout's cluster. Objects are cheap; the state is in the layout's folder."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.programs = Programs(layout.processes, layout.logs)
        self.cluster = Cluster(layout.kubeconfig(), self)

    # ---- up and down -------------------------------------------------------------------------------------------------

    def is_up(self) -> bool:
        """Whether all its programs run and the API server answers."""
        names = self.programs.names()
        wanted = {program.name for program in self._programs()}
        return wanted <= set(names) and all(self.programs.alive(name) for name in wanted) and self._api_answers()

    def up(self, gpus: int = 2) -> None:
        """Bring it up; what is up already is left alone. Raises MachineError, ProgramError or WaitError."""
        with self._alone():
            if not any(self.programs.alive(name) for name in self.programs.names()):
                self._remove()
                shutil.rmtree(self.layout.logs, ignore_errors=True)
            self._check()
            self.layout.logs.mkdir(parents=True, exist_ok=True)
            write_credentials(self.layout)
            self._write_files()
            if self.layout.has_kubelet:
                remains.remember(self.layout)
                remains.add_address(self.layout)
                if not self.layout.gpu_count.exists():
                    self.layout.gpu_count.write_text(str(gpus))
            self._start_control_plane()
            if self.layout.has_kubelet:
                self._start_node()
            else:
                self.programs.start(kwok.kwok(self.layout))

    def down(self) -> None:
        """Stop everything and remove what it left; only the logs stay."""
        with self._alone():
            self._remove()

    def _start_control_plane(self) -> None:
        for program in control_plane.control_plane(self.layout):
            self.programs.start(program)
            if program.name == API_SERVER:
                self._wait("the API server", self._api_answers, 60)
        # Without it no pod can be created: the controller manager works, then.
        account = lambda: bool(self.cluster.get("serviceaccount", "default"))  # noqa: E731
        self._wait("the controller manager", account, 60)

    def _start_node(self) -> None:
        needed = [images.sandbox_image(), images.dns_image()]
        containerd, *others = node.node_programs(self.layout)
        self.programs.start(containerd)
        self._wait("containerd", self._containerd_answers, 30)
        for archive in needed:
            self.load(archive)
        for program in others:
            self.programs.start(program)
        self.cluster.apply(*dns.dns_objects(self.layout))
        self._wait(f"{self.layout.node} to be ready", self._node_is_ready, 60)
        name = "kubernetes.default.svc.cluster.local"
        self._wait("an answer from DNS", lambda: bool(dns.resolve(self.layout.dns_address, name)), 60)
        self._wait("the GPUs", lambda: self.gpus() == int(self.layout.gpu_count.read_text()), 30)

    def _remove(self) -> None:
        for name in reversed(self.programs.names()):
            # The node's programs end as they wish; the state of the others is thrown away.
            self.programs.stop(name, grace_s=5 if name in ("kubelet", "containerd", "kube-proxy") else 0)
        if self.layout.has_kubelet and self.layout.folder.exists() and os.geteuid() == 0:
            remains.remove(self.layout)
        for path in self.layout.folder.glob("*"):
            if path != self.layout.logs:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def _programs(self) -> Sequence[Program]:
        others = node.node_programs(self.layout) if self.layout.has_kubelet else [kwok.kwok(self.layout)]
        return [*control_plane.control_plane(self.layout), *others]

    def _write_files(self) -> None:
        folder = self.layout.folder
        files = {folder / "audit-policy.json": json.dumps(control_plane.AUDIT_POLICY)}
        if self.layout.has_kubelet:
            files |= node.node_files(self.layout)
        else:
            files[folder / "kwok-stages.yaml"] = kwok.stages((BINARIES / "kwok-stages.yaml").read_text())
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def _check(self) -> None:
        missing = [
            Path(program.command[0]).name for program in self._programs() if not Path(program.command[0]).exists()
        ]
        if missing:
            raise MachineError(f"{', '.join(missing)} not built; run `make e2e-binaries`")
        if self.layout.has_kubelet and os.geteuid() != 0:
            raise MachineError("a kubelet needs root; `make cluster-control` does without")
        ours = {self.programs.pid(name) for name in self.programs.names() if self.programs.alive(name)}
        kubelets = {int(path.parent.name) for path in Path("/proc").glob("[0-9]*/comm") if _read(path) == "kubelet\n"}
        if self.layout.has_kubelet and kubelets - ours:
            raise MachineError(f"another kubelet runs on this machine (process {min(kubelets - ours)})")

    # ---- what tests do to it -----------------------------------------------------------------------------------------

    def load(self, archive: Archive) -> None:
        """Import an image; pods name it by `archive.reference`, by `archive.by_digest`, or without "localhost/"."""
        name = archive.reference.removeprefix("localhost/")
        found = self._ctr("images", "ls", "-q").splitlines()
        if archive.by_digest not in found:
            self._ctr(
                "images",
                "import",
                "--digests",
                f"--base-name={archive.reference.rpartition(':')[0]}",
                str(archive.path),
            )
        if archive.by_digest not in found or archive.reference not in found:
            self._ctr("images", "tag", "--force", archive.reference, f"docker.io/library/{name}")

    def gpus(self) -> int:
        """How many GPUs the node offers to pods."""
        found = self.cluster.get("node", self.layout.node) or {}
        return int(found.get("status", {}).get("allocatable", {}).get(node.GPU, -1))

    def set_gpus(self, count: int, timeout_s: float = 30) -> None:
        """Let GPUs come or go, and wait until the node says so. Containers keep those they have."""
        fresh = self.layout.gpu_count.with_suffix(".new")
        fresh.write_text(str(count))
        fresh.rename(self.layout.gpu_count)
        self._wait(f"{count} GPUs", lambda: self.gpus() == count, timeout_s)

    def add_nodes(
        self,
        count: int,
        prefix: str = "gpu",
        labels: Mapping[str, str] | None = None,
        capacity: Mapping[str, str] | None = None,
    ) -> list[str]:
        """Nodes PREFIX-0 … that kwok plays, with 8 GPUs unless `capacity` says otherwise; they are ready on return."""
        names = [f"{prefix}-{number}" for number in range(count)]
        nodes = [kwok.fake_node(name, labels or {}, capacity or {}) for name in names]
        if nodes:
            self.cluster.apply(*nodes)
            self._wait(f"{count} nodes", lambda: self._are_ready(names), 60)
        return names

    def remove_nodes(self, names: Sequence[str]) -> None:
        if names:
            # By a selector, because kubectl takes 0.2 s for each that is named.
            self.cluster.kubectl("delete", "node", "--wait=false", f"-l=kubernetes.io/hostname in ({','.join(names)})")

    @contextmanager
    def nodes(
        self,
        count: int,
        prefix: str,
        labels: Mapping[str, str] | None = None,
        capacity: Mapping[str, str] | None = None,
    ) -> Iterator[list[str]]:
        """`add_nodes` and `remove_nodes`; to be left after the pods on them are gone, since nobody else ends those."""
        names = self.add_nodes(count, prefix, labels, capacity)
        try:
            yield names
        finally:
            self.remove_nodes(names)

    @contextmanager
    def paused(self, name: str = API_SERVER) -> Iterator[None]:
        """Meanwhile a program neither answers nor refuses: connections hang."""
        self.programs.pid(name)
        self.programs.signal(name, signal.SIGSTOP)
        try:
            yield
        finally:
            self.programs.signal(name, signal.SIGCONT)
            self._wait_until_served(name)

    @contextmanager
    def stopped(self, name: str = API_SERVER) -> Iterator[None]:
        """Meanwhile a program does not run: connections are refused."""
        self.programs.stop(name, grace_s=2)
        try:
            yield
        finally:
            self.programs.start_again(name)
            self._wait_until_served(name)

    def restart(self, name: str) -> None:
        """End a program and start it as it was: "kubelet", "kube-apiserver", …; returns when it serves again."""
        with self.stopped(name):
            pass

    def kill(self, name: str) -> None:
        """SIGKILL; nothing starts it again but `restart` or `up`."""
        self.programs.kill(name)

    def _wait_until_served(self, name: str) -> None:
        self._wait("the API server", self._api_answers, 60)
        if name in ("kubelet", "containerd"):
            self._wait(f"{self.layout.node} to be ready", self._node_is_ready, 60)
        if name in ("kubelet", "device-plugin"):
            self._wait("the GPUs", lambda: self.gpus() == int(self.layout.gpu_count.read_text()), 30)

    # ---- questions ---------------------------------------------------------------------------------------------------

    def status(self) -> str:
        """A line a program."""
        lines = [f"{name}: {'runs' if self.programs.alive(name) else 'has ended'}" for name in self.programs.names()]
        return "\n".join(f"  {line}" for line in lines) or "  nothing runs"

    def _api_answers(self) -> bool:
        try:
            return self.cluster.kubectl("get", "--raw=/readyz", "--request-timeout=2s") == "ok"
        except CommandError:
            return False

    def _containerd_answers(self) -> bool:
        try:
            return bool(self._ctr("version"))
        except MachineError:
            return False

    def _node_is_ready(self) -> bool:
        return self._are_ready([self.layout.node])

    def _are_ready(self, names: Sequence[str]) -> bool:
        ready = {found["metadata"]["name"] for found in self.cluster.list("nodes") if is_ready(found)}
        return ready >= set(names)

    def _ctr(self, *arguments: str) -> str:
        command = ["ctr", "--address", str(self.layout.containerd_socket), "--namespace", "k8s.io", *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise MachineError(f"{' '.join(command)}\n{done.stderr[-2000:]}")
        return done.stdout

    def _wait(self, what: str, holds: Callable[[], bool], timeout_s: float) -> None:
        """Until it holds, or a program has ended."""

        def holds_or_dead() -> bool:
            if dead := [name for name in self.programs.names() if not self.programs.alive(name)]:
                raise ProgramError(f"{dead[0]} has ended\n{self.programs.last_words(dead[0])}")
            return holds()

        wait_for(what, holds_or_dead, timeout_s=timeout_s, account=self._account)

    def _account(self) -> str:
        words = "\n".join(self.programs.last_words(name, 4) for name in self.programs.names())
        return f"{words}\n{self.cluster.account()}\nlogs: {self.layout.logs}"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time brings it up or down."""
        BUILD.mkdir(parents=True, exist_ok=True)
        with (BUILD / f"{self.layout.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
