"""Where a cluster lives on this machine: folders, addresses, ports.

Owns the names of places; starts and writes nothing. There are two layouts, which can be up at the same time: `CLUSTER`,
one node with a real kubelet, and `CONTROL`, a control plane whose nodes are played by kwok.
"""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "e2e"
BINARIES = BUILD / "bin"
IMAGES = BUILD / "images"

_LONGEST_FOLDER = 64
"""A Unix socket's path has at most 107 bytes (unix(7)), and the kubelet adds up to 40 to the folder."""


@dataclass(frozen=True, slots=True)
class Layout:
    name: str
    folder: Path
    address: str
    """The API server's and the node's; pods must reach it, so it is no loopback address where there are pods."""
    private_address: str
    """A loopback address: etcd, and what the other programs say of their health."""
    service_prefix: str
    """The first two bytes of every Service's address."""
    pod_prefix: str
    """The first two bytes of every pod's address."""
    has_kubelet: bool

    def __post_init__(self) -> None:
        if len(str(self.folder)) > _LONGEST_FOLDER:
            raise ValueError(
                f"{self.folder} is too long a path for the sockets in it (at most {_LONGEST_FOLDER} characters); "
                "check the repository out nearer to the root"
            )

    @property
    def server(self) -> str:
        return f"https://{self.address}:6443"

    @property
    def etcd(self) -> str:
        return f"http://{self.private_address}:2379"

    @property
    def dns_address(self) -> str:
        return f"{self.service_prefix}.0.10"

    @property
    def node(self) -> str:
        """The name of the node with the kubelet."""
        return "node-1"

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    @property
    def logs(self) -> Path:
        """Every program's log and the API server's audit log; they outlive the cluster, until the next one starts."""
        return self.folder / "logs"

    @property
    def audit_log(self) -> Path:
        return self.logs / "audit.jsonl"

    @property
    def processes(self) -> Path:
        return self.folder / "processes"

    @property
    def containerd_socket(self) -> Path:
        return self.folder / "containerd.sock"

    @property
    def gpu_count(self) -> Path:
        """The file whose number is that of the GPUs the device plugin offers."""
        return self.folder / "gpus"

    def kubeconfig(self, user: str = "admin") -> Path:
        return self.folder / "kubeconfig" if user == "admin" else self.keys / f"{user}.kubeconfig"


CLUSTER = Layout("cluster", BUILD / "cluster", "10.250.0.1", "127.9.0.1", "10.96", "10.244", has_kubelet=True)
CONTROL = Layout("control", BUILD / "control", "127.9.0.2", "127.9.0.2", "10.97", "10.245", has_kubelet=False)
