"""The cluster's DNS: CoreDNS as a pod, and a question to it.

Owns the objects that `kubectl apply` is given. CoreDNS knows the cluster's names alone and forwards nothing: from a
site's network no question should leave.
"""

import socket
import struct
from collections.abc import Mapping, Sequence

from .layout import Layout

IMAGE = "localhost/pagelet-e2e-coredns:1.12.4"

_COREFILE = """\
.:5353 {
    errors
    health :8080
    ready :8181
    kubernetes cluster.local in-addr.arpa {
        ttl 5
    }
    reload
}
"""
_LABELS = {"k8s-app": "kube-dns"}
_SYSTEM = "kube-system"


def dns_objects(layout: Layout) -> Sequence[Mapping[str, object]]:
    """As kubeadm's, but for the image, the port inside the pod, and one replica."""
    account = {"kind": "ServiceAccount", "name": "coredns", "namespace": _SYSTEM}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"}
    read = {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]}
    slices = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}
    ports = [{"name": name, "port": 53, "targetPort": 5353, "protocol": name.upper()} for name in ("udp", "tcp")]
    service = {"clusterIP": layout.dns_address, "selector": _LABELS, "ports": ports}
    deployment = {
        "replicas": 1,
        "selector": {"matchLabels": _LABELS},
        "template": {"metadata": {"labels": _LABELS}, "spec": _pod()},
    }
    rbac = "rbac.authorization.k8s.io/v1"
    return [
        _object("v1", "ServiceAccount"),
        _object(rbac, "ClusterRole", "system:coredns", namespace=None) | {"rules": [read, slices]},
        _object(rbac, "ClusterRoleBinding", "system:coredns", namespace=None)
        | {"roleRef": role, "subjects": [account]},
        _object("v1", "ConfigMap") | {"data": {"Corefile": _COREFILE}},
        _object("v1", "Service", "kube-dns") | {"spec": service},
        _object("apps/v1", "Deployment") | {"spec": deployment},
    ]


def _object(version: str, kind: str, name: str = "coredns", namespace: str | None = _SYSTEM) -> dict[str, object]:
    metadata = {"name": name} if namespace is None else {"name": name, "namespace": namespace}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _pod() -> Mapping[str, object]:
    container = {
        "name": "coredns",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
    }
    return {
        "serviceAccountName": "coredns",
        "dnsPolicy": "Default",
        "priorityClassName": "system-cluster-critical",
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }


def resolve(server: str, name: str, timeout_s: float = 1) -> str | None:
    """The IPv4 address that the DNS server gives for a name (RFC 1035, one A question by UDP); None if it has none."""
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(timeout_s)
        try:
            client.sendto(struct.pack(">6H", 1, 0x0100, 1, 0, 0, 0) + question + struct.pack(">2H", 1, 1), (server, 53))
            answer = client.recv(512)
        except OSError:
            return None
    answers = struct.unpack(">H", answer[6:8])[0]
    return socket.inet_ntoa(answer[-4:]) if answers == 1 else None
