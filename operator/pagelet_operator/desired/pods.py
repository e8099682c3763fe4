"""What all our pods have in common: locked down to the `restricted` Pod Security Standard, probed on a port of its own.

Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pagelet_api import names
from pagelet_api.v1alpha1 import InferenceService, Resources

from pagelet_operator.desired.metadata import KubernetesObject

USER_ID = 10001
SCRATCH_MOUNT = "/tmp"
GRACE_MARGIN_S = 15
"""Between a container's own drain timeout and SIGKILL: the time to say goodbye."""
_STARTUP_PERIOD_S = 2


def pod_template(
    service: InferenceService,
    labels: dict[str, str],
    annotations: dict[str, str],
    containers: Sequence[KubernetesObject],
    volumes: Sequence[KubernetesObject],
    *,
    grace_s: int,
    **spec: Any,
) -> KubernetesObject:
    """metadata and spec of a pod; `spec` holds what this kind of pod has besides, where it is not empty."""
    secrets = service.spec.pod_template.image_pull_secrets
    more = {"imagePullSecrets": [dict(secret) for secret in secrets], **spec}
    return {
        "metadata": {"labels": labels, **({"annotations": annotations} if annotations else {})},
        "spec": {
            "serviceAccountName": service.metadata.name,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": grace_s,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER_ID,
                "runAsGroup": USER_ID,
                "fsGroup": USER_ID,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": list(containers),
            "volumes": [*volumes, {"name": "scratch", "emptyDir": {}}],
            **{name: value for name, value in more.items() if value},
        },
    }


def container(
    name: str,
    image: str,
    command: list[str],
    args: list[str],
    mounts: list[KubernetesObject],
    resources: Mapping[str, Any],
) -> KubernetesObject:
    """A container of ours: writes to its scratch folder alone, and its last words reach the pod's status."""
    return {
        "name": name,
        "image": image,
        "command": command,
        "args": args,
        "env": [{"name": "TMPDIR", "value": SCRATCH_MOUNT}],
        "resources": resources,
        "volumeMounts": [*mounts, {"name": "scratch", "mountPath": SCRATCH_MOUNT}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {**restricted(), "readOnlyRootFilesystem": True},
    }


def serving(
    container: KubernetesObject, ports: dict[str, int], *, startup_path: str, startup_timeout_s: int
) -> KubernetesObject:
    """The same container as a server: listens on all its pod's addresses, and is probed on its port `ops`."""
    return {
        **container,
        "env": [{"name": names.LISTEN_ADDRESS_ENV, "value": "0.0.0.0"}, *container["env"]],
        "ports": [{"name": port, "containerPort": number, "protocol": "TCP"} for port, number in ports.items()],
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
    }


def restricted() -> KubernetesObject:
    """What the standard wants of each container; the rest it wants is said once, for the pod."""
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def resource_amounts(resources: Resources) -> KubernetesObject:
    """Quantities as text, the form in which the API server hands them back."""
    return {
        kind: {name: str(quantity) for name, quantity in sorted(amounts.items())}
        for kind, amounts in (("limits", resources.limits), ("requests", resources.requests))
        if amounts
    }


def config_map(metadata: KubernetesObject, data: Mapping[str, str], *, immutable: bool) -> KubernetesObject:
    fields: KubernetesObject = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    if immutable:
        fields["immutable"] = True
    return {**fields, "data": dict(data)}


def config_volume(config_map_name: str, *files: str) -> KubernetesObject:
    """The files that a container reads, and no other key of the ConfigMap."""
    items = [{"key": file, "path": file} for file in files]
    return {"name": "config", "configMap": {"name": config_map_name, "items": items}}


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
