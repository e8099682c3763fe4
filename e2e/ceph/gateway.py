"""One monitor, one OSD in memory and one RADOS gateway on the loopback, in a folder of their own. No systemd, no mgr.

Owns the programs for as long as the block runs; when it ends, they and the folder are gone. The packages are Debian's:
ceph-mon, ceph-osd, radosgw and ceph-common. Documentation: https://docs.ceph.com/en/latest/install/manual-deployment/
"""

import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .certificates import make_certificates

KEY, SECRET = "a-key-of-the-tests", "the/secret+of the-tests"
_WAIT_S = 120


class CephError(Exception):
    """What was wanted of Ceph, and its last words."""


@dataclass(frozen=True)
class Gateway:
    port: int
    key: str
    secret: str
    authority: Path


@contextmanager
def running_gateway() -> Iterator[Gateway]:
    folder = Path(tempfile.mkdtemp(prefix="pagelet-ceph-"))
    running: list[subprocess.Popen[bytes]] = []
    try:
        yield _start(folder, running)
    except CephError as error:
        logs = sorted((folder / "log").glob("*"))
        raise CephError(f"{error}\n" + "\n".join(f"{log.name}: …{log.read_text()[-1500:]}" for log in logs)) from error
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path, running: list[subprocess.Popen[bytes]]) -> Gateway:
    for name in ("run", "log", "mon", "osd", "rgw"):
        (folder / name).mkdir()
    make_certificates(folder / "tls")
    tls = folder / "tls" / "server"
    cluster, osd, monitor_port, port = str(uuid.uuid4()), str(uuid.uuid4()), _free_port(), _free_port()
    (folder / "ceph.conf").write_text(
        _CONF.format(C=folder, T=tls, cluster=cluster, monitor_port=monitor_port, port=port)
    )

    def ceph(*command: str) -> str:
        return _run([command[0], "-c", str(folder / "ceph.conf"), *command[1:]])

    def start(*command: str) -> None:
        with (folder / "log" / f"{command[0]}.out").open("w") as log:
            arguments = [command[0], "-c", str(folder / "ceph.conf"), *command[1:], "--foreground"]
            running.append(subprocess.Popen(arguments, stdout=log, stderr=log))

    for name, rights in _RIGHTS.items():
        capabilities = [word for service, right in rights.items() for word in ("--cap", service, right)]
        created = [] if (folder / "keyring").exists() else ["--create-keyring"]
        _run(["ceph-authtool", str(folder / "keyring"), *created, "--gen-key", "-n", name, *capabilities])
    address = f"[v2:127.0.0.1:{monitor_port}]"
    _run(["monmaptool", "--create", "--fsid", cluster, "--addv", "a", address, str(folder / "monmap")])
    ceph("ceph-mon", "--mkfs", "-i", "a", "--monmap", str(folder / "monmap"), "--keyring", str(folder / "keyring"))
    start("ceph-mon", "-i", "a")
    _until(lambda: "quorum" in ceph("ceph", "mon", "stat"), "a quorum of monitors")
    ceph("ceph", "osd", "new", osd, "0")
    ceph("ceph", "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=h")
    ceph("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
    start("ceph-osd", "-i", "0")
    _until(lambda: "1 up" in ceph("ceph", "osd", "stat"), "an OSD that is up")
    start("radosgw", "-n", "client.rgw")
    _until(lambda: _answers(port), "a gateway that answers")
    user = ["user", "create", "--uid=tests", "--display-name=tests", f"--access-key={KEY}", f"--secret-key={SECRET}"]
    ceph("radosgw-admin", "-n", "client.rgw", *user)
    return Gateway(port, KEY, SECRET, folder / "tls" / "ca.crt")


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_WAIT_S, check=False)
    if done.returncode:
        raise CephError(f"{' '.join(command)}: {done.stderr.strip()[-1000:]}")
    return done.stdout


def _until(reached: Callable[[], bool], wanted: str) -> None:
    deadline_s = time.monotonic() + _WAIT_S
    while not reached():
        if time.monotonic() > deadline_s:
            raise CephError(f"wanted {wanted} within {_WAIT_S} s")
        time.sleep(0.1)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


_RIGHTS = {
    "mon.": {"mon": "allow *"},
    "client.admin": {"mon": "allow *", "osd": "allow *", "mgr": "allow *"},
    "osd.0": {"mon": "allow profile osd", "osd": "allow *"},
    "client.rgw": {"mon": "allow rw", "osd": "allow rwx"},
}

_CONF = """\
[global]
fsid = {cluster}
mon_host = v2:127.0.0.1:{monitor_port}
public_addr = 127.0.0.1
public_network = 127.0.0.0/8
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
keyring = {C}/keyring
run_dir = {C}/run
admin_socket = {C}/run/$name.$pid.asok
pid_file = {C}/run/$name.pid
log_file = {C}/log/$name.log
crash_dir = {C}/log
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
osd_crush_chooseleaf_type = 0
mon_data_avail_warn = 1
mon_data_avail_crit = 1
[mon]
mon_data = {C}/mon
[osd]
osd_data = {C}/osd
osd_objectstore = memstore
memstore_device_bytes = 2147483648
osd_memory_target = 1073741824
[client.rgw]
rgw_data = {C}/rgw
rgw_frontends = beast ssl_endpoint=127.0.0.1:{port} ssl_certificate={T}.crt ssl_private_key={T}.key tcp_nodelay=1
rgw_enable_usage_log = false
rgw_enable_ops_log = false
"""
