"""The commands of the control plane: etcd, API server, controller manager, scheduler.

Pure: from a layout to command lines. Nothing elects a leader: there is one of each, and a leader that loses its lease
while a test holds the API server still would end itself.
"""

from collections.abc import Sequence

from .layout import BINARIES, Layout
from .program import Program

AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}
"""Who asked for what, every request, no bodies: what a test of RBAC rules needs."""

_FAST_CLIENT = ("--kube-api-qps=500", "--kube-api-burst=500")


def control_plane(layout: Layout) -> Sequence[Program]:
    """In the order in which they start. `audit-policy.json` must lie in the layout's folder."""
    return [_etcd(layout), _api_server(layout), _controller_manager(layout), _scheduler(layout)]


def _etcd(layout: Layout) -> Program:
    peer = f"http://{layout.private_address}:2380"
    return Program(
        "etcd",
        [
            f"{BINARIES}/etcd",
            f"--data-dir={layout.folder}/etcd",
            f"--listen-client-urls={layout.etcd}",
            f"--advertise-client-urls={layout.etcd}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",  # a cluster that is thrown away with its machine's state
        ],
    )


def _api_server(layout: Layout) -> Program:
    keys = layout.keys
    return Program(
        "kube-apiserver",
        [
            f"{BINARIES}/kube-apiserver",
            f"--etcd-servers={layout.etcd}",
            f"--bind-address={layout.address}",
            f"--advertise-address={layout.address}",
            "--secure-port=6443",
            f"--cert-dir={keys}",
            f"--tls-cert-file={keys}/apiserver.crt",
            f"--tls-private-key-file={keys}/apiserver.key",
            f"--client-ca-file={keys}/ca.crt",
            f"--token-auth-file={keys}/tokens.csv",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={keys}/service-accounts.key",
            f"--service-account-signing-key-file={keys}/service-accounts.key",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--service-cluster-ip-range={layout.service_prefix}.0.0/16",
            "--allow-privileged=true",
            f"--kubelet-client-certificate={keys}/kubelet-client.crt",
            f"--kubelet-client-key={keys}/kubelet-client.key",
            "--kubelet-preferred-address-types=InternalIP",
            f"--audit-policy-file={layout.folder}/audit-policy.json",
            f"--audit-log-path={layout.audit_log}",
            "--audit-log-maxsize=4096",  # never rotated: a test reads the whole run from one file
            # A loopback address is refused as an endpoint; and without pods nobody looks for one.
            *([] if layout.has_kubelet else ["--endpoint-reconciler-type=none"]),
        ],
    )


def _controller_manager(layout: Layout) -> Program:
    keys = layout.keys
    return Program(
        "kube-controller-manager",
        [
            f"{BINARIES}/kube-controller-manager",
            f"--kubeconfig={layout.kubeconfig('controller-manager')}",
            f"--bind-address={layout.private_address}",
            f"--cert-dir={keys}",
            f"--root-ca-file={keys}/ca.crt",
            f"--service-account-private-key-file={keys}/service-accounts.key",
            f"--flex-volume-plugin-dir={layout.folder}/volume-plugins",  # else it makes one under /usr
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            *_FAST_CLIENT,
        ],
    )


def _scheduler(layout: Layout) -> Program:
    return Program(
        "kube-scheduler",
        [
            f"{BINARIES}/kube-scheduler",
            f"--kubeconfig={layout.kubeconfig('scheduler')}",
            f"--authentication-kubeconfig={layout.kubeconfig('scheduler')}",
            f"--authorization-kubeconfig={layout.kubeconfig('scheduler')}",
            f"--bind-address={layout.private_address}",
            f"--cert-dir={layout.keys}",
            "--leader-elect=false",
            *_FAST_CLIENT,
        ],
    )
