"""What all our pods have in common: locked down to the `restricted` Pod Security Standard, probed on a port of its own.

Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from typing import Any

from pagelet_api import names
from pagelet_api.v1alpha1 import Resources

from pagelet_operator.desired.metadata import KubernetesObject

USER_ID = 10001
SCRATCH_MOUNT = "/tmp"
GRACE_MARGIN_S = 15
"""Between a container's own drain timeout and SIGKILL: the time to say goodbye."""
_STARTUP_PERIOD_S = 2


def pod_template(
    labels: dict[str, str],
    annotations: dict[str, str],
    container: KubernetesObject,
    volumes: list[KubernetesObject],
    *,
    service_account: str,
    drain_timeout_s: int,
    **spec: Any,
) -> KubernetesObject:
    """metadata and spec of a pod with one container; `spec` holds what this kind of pod has besides."""
    return {
        "metadata": {"labels": labels, **({"annotations": annotations} if annotations else {})},
        "spec": {
            "serviceAccountName": service_account,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": drain_timeout_s + GRACE_MARGIN_S,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER_ID,
                "runAsGroup": USER_ID,
                "fsGroup": USER_ID,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [*volumes, {"name": "scratch", "emptyDir": {}}],
            **spec,
        },
    }


def container(
    name: str,
    image: str,
    command: list[str],
    args: list[str],
    ports: dict[str, int],
    mounts: list[KubernetesObject],
    resources: Resources,
    *,
    startup_path: str,
    startup_timeout_s: int,
) -> KubernetesObject:
    """A container of ours: listens on all its pod's addresses, writes to its scratch folder alone."""
    return {
        "name": name,
        "image": image,
        "command": command,
        "args": args,
        "env": [
            {"name": names.LISTEN_ADDRESS_ENV, "value": "0.0.0.0"},
            {"name": "TMPDIR", "value": SCRATCH_MOUNT},
        ],
        "ports": [{"name": port, "containerPort": number, "protocol": "TCP"} for port, number in ports.items()],
        "resources": _resources(resources),
        "volumeMounts": [*mounts, {"name": "scratch", "mountPath": SCRATCH_MOUNT}],
        "startupProbe": {
            **_http_get(startup_path),
            "periodSeconds": _STARTUP_PERIOD_S,
            "timeoutSeconds": 2,
            "failureThreshold": max(1, -(-startup_timeout_s // _STARTUP_PERIOD_S)),
        },
        "readinessProbe": {
            **_http_get(names.READY_PATH),
            "periodSeconds": 2,
            "timeoutSeconds": 2,
            "failureThreshold": 2,
        },
        "livenessProbe": {
            **_http_get(names.LIVE_PATH),
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def config_map(metadata: KubernetesObject, text: str, *, immutable: bool) -> KubernetesObject:
    """The ConfigMap that holds a part's configuration file."""
    fields: KubernetesObject = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    if immutable:
        fields["immutable"] = True
    return {**fields, "data": {names.CONFIG_FILE: text}}


def config_volume(config_map_name: str) -> KubernetesObject:
    return {"name": "config", "configMap": {"name": config_map_name}}


def config_mount() -> KubernetesObject:
    return {"name": "config", "mountPath": names.CONFIG_MOUNT, "readOnly": True}


def disruption_budget(metadata: KubernetesObject, selector: dict[str, str]) -> KubernetesObject:
    """A node's drain takes one pod at a time; pods that serve nobody never hold it up."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata,
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": selector},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def service_account(metadata: KubernetesObject) -> KubernetesObject:
    """The account of all pods of a service. None of them speaks to the API server, so there is no token."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata,
        "automountServiceAccountToken": False,
    }


def _http_get(path: str) -> KubernetesObject:
    return {"httpGet": {"path": path, "port": "ops"}}


def _resources(resources: Resources) -> KubernetesObject:
    """Quantities as text, the form in which the API server hands them back."""
    return {
        kind: {name: str(quantity) for name, quantity in sorted(amounts.items())}
        for kind, amounts in (("limits", resources.limits), ("requests", resources.requests))
        if amounts
    }
