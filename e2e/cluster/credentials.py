"""Keys, certificates, tokens and kubeconfigs of one cluster.

Owns who may speak to the API server, and under which name. Everything is made by the `openssl` command, for a year, and
is thrown away with the cluster.
"""

import json
import secrets
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .layout import Layout

USERS: Mapping[str, tuple[str, Sequence[str]]] = {
    "admin": ("admin", ["system:masters"]),
    "controller-manager": ("system:kube-controller-manager", []),
    "scheduler": ("system:kube-scheduler", []),
    "kube-proxy": ("system:kube-proxy", []),
    "kwok": ("kwok", ["system:masters"]),
    "kubelet": ("system:node:node-1", ["system:nodes"]),
}
"""User of a kubeconfig → name and groups, as the API server's RBAC (and its audit log) sees them."""


def write_credentials(layout: Layout) -> None:
    """Write everything in `layout.keys` and the kubeconfigs, unless it is there."""
    if layout.kubeconfig().exists():
        return
    layout.keys.mkdir(parents=True, exist_ok=True)
    layout.keys.chmod(0o700)
    _openssl(layout.keys, "req -x509 -days 365 -subj /CN=pagelet-e2e", "ca")
    addresses = ["127.0.0.1", layout.address, f"{layout.service_prefix}.0.1"]
    service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    names = ["localhost", *service]
    alternatives = ",".join([f"IP:{address}" for address in addresses] + [f"DNS:{name}" for name in names])
    _signed(layout.keys, "apiserver", "/CN=kube-apiserver", "serverAuth", f"subjectAltName={alternatives}")
    _signed(layout.keys, "kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client", "clientAuth")
    subprocess.run(
        ["openssl", "genrsa", "-out", str(layout.keys / "service-accounts.key"), "2048"],
        check=True,
        capture_output=True,
    )
    tokens = {user: secrets.token_hex(16) for user in USERS}
    lines = [f'{tokens[user]},{name},{name},"{",".join(groups)}"' for user, (name, groups) in USERS.items()]
    (layout.keys / "tokens.csv").write_text("\n".join(lines) + "\n")
    # The admin's comes last: it says that all is there.
    for user in reversed(list(USERS)):
        kubeconfig = layout.kubeconfig(user)
        kubeconfig.touch(0o600)
        kubeconfig.write_text(json.dumps(_kubeconfig(layout, user, tokens[user]), indent=1) + "\n")


def _kubeconfig(layout: Layout, user: str, token: str) -> Mapping[str, object]:
    """https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/, in YAML's subset JSON."""
    name = f"pagelet-{layout.name}"
    cluster = {"server": layout.server, "certificate-authority": str(layout.keys / "ca.crt")}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        "current-context": name,
    }


def _signed(folder: Path, name: str, subject: str, usage: str, *extensions: str) -> None:
    extra = [word for extension in (f"extendedKeyUsage={usage}", *extensions) for word in ("-addext", extension)]
    by = ["-CA", str(folder / "ca.crt"), "-CAkey", str(folder / "ca.key")]
    _openssl(folder, f"req -x509 -days 365 -subj {subject}", name, *by, "-addext", "basicConstraints=CA:FALSE", *extra)


def _openssl(folder: Path, command: str, name: str, *arguments: str) -> None:
    key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-keyout",
        str(folder / f"{name}.key"),
    ]
    out = ["-out", str(folder / f"{name}.crt")]
    subprocess.run(["openssl", *command.split(), *key, *out, *arguments], check=True, capture_output=True)
