"""What a node leaves on its machine outside of its folder, and its removal.

Owns the list of it: containers' processes, mounts, cgroups, iptables chains, addresses, kernel settings and a few
folders that Kubernetes programs insist on. Touches nothing of which it cannot tell that it was this cluster's.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from .device_plugin import FOLDER as DEVICE_PLUGINS
from .layout import Layout

_CHAINS = ("KUBE-", "CNI-")
_SETTINGS = (
    "vm/overcommit_memory",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_tcp_timeout_established",
    "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
)
"""Those of /proc/sys that kubelet, kube-proxy and the CNI plugins write."""
_FOLDERS = (
    Path("/var/lib/kubelet"),
    Path("/var/lib/cni"),
    Path("/var/log/containers"),
    Path("/var/log/pods"),
    Path("/run/containerd"),
)
"""Made by programs that cannot be told otherwise; removed if they were not there before and are empty."""


def remember(layout: Layout) -> None:
    """Write down what the node's programs will change, unless that has been done. To be called before they start."""
    path = layout.folder / "before.json"
    if not path.exists():
        settings = {name: Path("/proc/sys", name).read_text() for name in _SETTINGS if Path("/proc/sys", name).exists()}
        missing = [str(folder) for folder in _FOLDERS if not folder.exists()]
        path.write_text(json.dumps({"settings": settings, "missing": missing}, indent=1) + "\n")


def remove(layout: Layout) -> None:
    """Remove everything. The cluster's own programs must have ended."""
    sockets = shim_sockets(layout)
    end_containers(layout)
    unmount_below(layout.folder)
    for path in sockets:
        path.unlink(missing_ok=True)
    remove_cgroups("kubepods")
    restore_iptables()
    remove_address(layout)
    for path in Path("/var/log/containers").glob("*.log"):
        if path.is_symlink() and path.readlink().is_relative_to(layout.folder):
            path.unlink()
    for path in Path("/var/lib/cni/results").glob("*"):
        if str(layout.folder) in path.read_text(errors="replace"):
            path.unlink()
    shutil.rmtree(DEVICE_PLUGINS, ignore_errors=True)
    put_back(layout)


def shim_sockets(layout: Layout) -> Sequence[Path]:
    """The sockets of containerd's shims, which lie under /run whatever containerd's folders are."""
    bundles = (layout.folder / "containerd-state" / "io.containerd.runtime.v2.task").glob("*/*/address")
    return [Path(bundle.read_text().removeprefix("unix://")) for bundle in bundles]


def end_containers(layout: Layout) -> None:
    """Kill the containers' processes (those in the pods' cgroups), and the shims that served this containerd."""
    deadline = time.monotonic() + 15
    while pids := cgroup_processes("kubepods") | shims(layout):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {sorted(pids)} survive SIGKILL")
        time.sleep(0.05)


def shims(layout: Layout) -> set[int]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().decode(errors="replace").split("\0")
            if Path(words[0]).name.startswith("containerd-shim") and str(layout.containerd_socket) in words:
                found.add(int(path.parent.name))
    return found


def cgroup_folders(name: str) -> list[Path]:
    """The cgroups called `name` at the root of every hierarchy (one in cgroup v2), and all below, deepest first."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    roots = [Path(words[4], name) for words in mounts if words[words.index("-") + 1] in ("cgroup", "cgroup2")]
    return [Path(folder) for root in roots for folder, _, _ in os.walk(root, topdown=False)]


def cgroup_processes(name: str) -> set[int]:
    pids: set[int] = set()
    for folder in cgroup_folders(name):
        with suppress(OSError):
            pids.update(int(pid) for pid in (folder / "cgroup.procs").read_text().split())
    return pids


def remove_cgroups(name: str) -> None:
    deadline = time.monotonic() + 5
    while folders := cgroup_folders(name):
        for folder in folders:
            with suppress(OSError):
                folder.rmdir()
        if time.monotonic() > deadline:
            raise TimeoutError(f"cgroup {folders[-1]} cannot be removed: something lives in it")


def mounts_below(folder: Path) -> list[str]:
    """Latest first; the kernel writes spaces as \\040 (proc(5))."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    decoded = [point.encode().decode("unicode_escape") for point in points]
    return [point for point in reversed(decoded) if Path(point).is_relative_to(folder)]


def unmount_below(folder: Path) -> None:
    for point in mounts_below(folder):
        subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)
    if left := mounts_below(folder):
        raise OSError(f"cannot unmount {left[0]}")


def restore_iptables() -> None:
    for family in ("iptables", "ip6tables"):
        save = subprocess.run([f"{family}-save"], check=False, capture_output=True, text=True)
        if save.returncode == 0 and any(prefix in save.stdout for prefix in _CHAINS):
            rules = without_chains(save.stdout)
            subprocess.run([f"{family}-restore"], input=rules, check=True, capture_output=True, text=True)


def without_chains(saved: str) -> str:
    """The output of iptables-save without the chains of Kubernetes and CNI, and without the rules that name them."""
    names = tuple(mark + prefix for prefix in _CHAINS for mark in (":", "-A ", "-j ", "-g "))
    return "".join(line for line in saved.splitlines(keepends=True) if not any(name in line for name in names))


def add_address(layout: Layout) -> None:
    subprocess.run(["ip", "address", "replace", f"{layout.address}/32", "dev", "lo"], check=True)


def remove_address(layout: Layout) -> None:
    subprocess.run(["ip", "address", "del", f"{layout.address}/32", "dev", "lo"], check=False, capture_output=True)


def put_back(layout: Layout) -> None:
    """What `remember` wrote down."""
    path = layout.folder / "before.json"
    if not path.exists():
        return
    before = json.loads(path.read_text())
    for name, value in before["settings"].items():
        setting = Path("/proc/sys", name)
        if setting.read_text() != value:
            setting.write_text(value)
    for folder in before["missing"]:
        remove_empty(Path(folder))


def remove_empty(folder: Path) -> None:
    """The folder and those in it, as far as there are no files in them: somebody else's are left alone."""
    for path, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            os.rmdir(path)
