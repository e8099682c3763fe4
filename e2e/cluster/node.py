"""The node with the real kubelet: containerd, kubelet, kube-proxy, the device plugin, and their configuration.

Pure: from a layout to command lines and the texts of files. Pods are connected by the `ptp` plugin: every packet
between two pods crosses the host's own routing, so that Services work without the kernel's bridge filter.
"""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from .layout import BINARIES, ROOT, Layout
from .program import Program

SANDBOX_IMAGE = "localhost/pagelet-e2e-sandbox:1"
GPU = "nvidia.com/gpu"
GPU_LABELS: Mapping[str, str] = {
    "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB",
    "nvidia.com/gpu.memory": "40960",
    "nvidia.com/gpu.family": "ampere",
}
"""What NVIDIA's gpu-feature-discovery says of a node (https://github.com/NVIDIA/k8s-device-plugin)."""

_CNI_FOLDERS = ("/usr/lib/cni", "/opt/cni/bin")
_UNUSED_PLUGINS = (
    "io.containerd.internal.v1.opt",  # would make /opt/containerd
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
)


def node_programs(layout: Layout) -> Sequence[Program]:
    """In the order in which they start; `node_files` must have been written."""
    return [_containerd(layout), _kubelet(layout), _kube_proxy(layout), _device_plugin(layout)]


def node_files(layout: Layout) -> Mapping[Path, str]:
    """Path → text of every file that the node's programs read."""
    return {
        layout.folder / "containerd.toml": _containerd_config(layout),
        layout.folder / "kubelet.json": json.dumps(_kubelet_config(layout), indent=1),
        layout.folder / "cni" / "10-pods.conflist": json.dumps(_network(layout), indent=1),
    }


def _containerd(layout: Layout) -> Program:
    return Program("containerd", [_found("containerd"), "--config", f"{layout.folder}/containerd.toml"])


def _containerd_config(layout: Layout) -> str:
    """https://github.com/containerd/containerd/blob/release/1.6/docs/cri/config.md"""
    folder = layout.folder
    runc = 'plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc'
    return f"""\
version = 2
root = "{folder}/containerd"
state = "{folder}/containerd-state"
disabled_plugins = {json.dumps(_UNUSED_PLUGINS)}

[grpc]
address = "{layout.containerd_socket}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{SANDBOX_IMAGE}"
stream_server_address = "{layout.private_address}"
netns_mounts_under_state_dir = true
# Who may not lower an OOM score (no CAP_SYS_RESOURCE) could start no container at all.
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{_cni_folder()}"
conf_dir = "{folder}/cni"

[{runc}]
runtime_type = "io.containerd.runc.v2"

[{runc}.options]
Root = "{folder}/runc"
SystemdCgroup = false
"""


def _network(layout: Layout) -> Mapping[str, object]:
    """https://www.cni.dev/docs/spec/#configuration-format; portmap is what gives pods their hostPorts."""
    subnet = {"subnet": f"{layout.pod_prefix}.0.0/24"}
    addresses = {
        "type": "host-local",
        "ranges": [[subnet]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": f"{layout.folder}/addresses",
    }
    return {
        "cniVersion": "0.4.0",
        "name": "pagelet-e2e",
        "plugins": [{"type": "ptp", "ipam": addresses}, {"type": "portmap", "capabilities": {"portMappings": True}}],
    }


def _kubelet(layout: Layout) -> Program:
    return Program(
        "kubelet",
        [
            f"{BINARIES}/kubelet",
            f"--config={layout.folder}/kubelet.json",
            f"--kubeconfig={layout.kubeconfig('kubelet')}",
            f"--root-dir={layout.folder}/kubelet",
            f"--cert-dir={layout.folder}/kubelet/keys",
            f"--hostname-override={layout.node}",
            f"--node-ip={layout.address}",
            "--node-labels=" + ",".join(f"{label}={value}" for label, value in GPU_LABELS.items()),
        ],
    )


def _kubelet_config(layout: Layout) -> Mapping[str, object]:
    """https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/"""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": layout.address,
        "healthzBindAddress": layout.private_address,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{layout.keys}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "clusterDNS": [layout.dns_address],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "enforceNodeAllocatable": [],
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%"},
        "failSwapOn": False,
        "imageGCHighThresholdPercent": 100,  # images cannot be pulled again
        "nodeStatusUpdateFrequency": "2s",  # GPUs that come and go are seen soon; an unchanged status is not written
        "podLogsDir": f"{layout.folder}/pod-logs",
        "readOnlyPort": 0,
        "resolvConf": "",
        "volumePluginDir": f"{layout.folder}/kubelet/volume-plugins",
    }


def _kube_proxy(layout: Layout) -> Program:
    return Program(
        "kube-proxy",
        [
            f"{BINARIES}/kube-proxy",
            f"--kubeconfig={layout.kubeconfig('kube-proxy')}",
            f"--hostname-override={layout.node}",
            "--proxy-mode=iptables",
            f"--cluster-cidr={layout.pod_prefix}.0.0/16",
            f"--healthz-bind-address={layout.private_address}:10256",
            f"--metrics-bind-address={layout.private_address}:10249",
            "--conntrack-max-per-core=0",
            "--iptables-localhost-nodeports=false",  # else route_localnet is switched on
        ],
    )


def _device_plugin(layout: Layout) -> Program:
    command = [sys.executable, "-m", "e2e.cluster.device_plugin", "--resource", GPU, str(layout.gpu_count)]
    return Program("device-plugin", command, {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"})


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise FileNotFoundError(f"{program} is not installed; `make e2e-packages` as root installs it")
    return path


def _cni_folder() -> str:
    for folder in _CNI_FOLDERS:
        if Path(folder, "ptp").exists():
            return folder
    raise FileNotFoundError(f"no CNI plugins in {' or '.join(_CNI_FOLDERS)}; `make e2e-packages` as root installs them")
