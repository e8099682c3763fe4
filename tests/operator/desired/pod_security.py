"""The `restricted` Pod Security Standard of Kubernetes 1.34, written as a list of rules over a pod's template.

Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/ (baseline and restricted).
"""

from collections.abc import Callable, Iterator
from typing import Any

Object = dict[str, Any]

_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}


def containers(spec: Object) -> list[Object]:
    return [*spec.get("initContainers", ()), *spec["containers"], *spec.get("ephemeralContainers", ())]


def contexts(spec: Object) -> list[Object]:
    return [spec.get("securityContext", {}), *(c.get("securityContext", {}) for c in containers(spec))]


def everywhere(spec: Object, field: str) -> list[Any]:
    """What each container has after the pod's own value is inherited."""
    inherited = spec.get("securityContext", {}).get(field)
    return [container.get("securityContext", {}).get(field, inherited) for container in containers(spec)]


def handlers(spec: Object) -> Iterator[Object]:
    for container in containers(spec):
        for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
            yield container.get(probe, {})
        yield from container.get("lifecycle", {}).values()


RULES: dict[str, Callable[[Object], bool]] = {
    # ---- baseline
    "HostProcess: no windowsOptions.hostProcess": lambda s: all(
        not context.get("windowsOptions", {}).get("hostProcess") for context in contexts(s)
    ),
    "Host Namespaces": lambda s: not any(s.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")),
    "Privileged Containers": lambda s: not any(context.get("privileged") for context in contexts(s)),
    "Capabilities: none added beyond the list": lambda s: all(
        set(context.get("capabilities", {}).get("add", ())) <= {"NET_BIND_SERVICE"} for context in contexts(s)
    ),
    "HostPath Volumes": lambda s: not any("hostPath" in volume for volume in s.get("volumes", ())),
    "Host Ports": lambda s: not any(port.get("hostPort") for c in containers(s) for port in c.get("ports", ())),
    "Host Probes / Lifecycle Hooks": lambda s: (
        not any(handler.get(kind, {}).get("host") for handler in handlers(s) for kind in ("httpGet", "tcpSocket"))
    ),
    "AppArmor": lambda s: all(
        context.get("appArmorProfile", {}).get("type", "RuntimeDefault") in ("RuntimeDefault", "Localhost")
        for context in contexts(s)
    ),
    "SELinux": lambda s: all(
        context.get("seLinuxOptions", {}).get("type", "") in _SELINUX_TYPES
        and not context.get("seLinuxOptions", {}).keys() & {"user", "role"}
        for context in contexts(s)
    ),
    "/proc Mount Type": lambda s: all(context.get("procMount", "Default") == "Default" for context in contexts(s)),
    "Sysctls": lambda s: not s.get("securityContext", {}).get("sysctls"),
    # ---- restricted
    "Volume Types": lambda s: all(volume.keys() - {"name"} <= _VOLUMES for volume in s.get("volumes", ())),
    "Privilege Escalation": lambda s: all(
        c.get("securityContext", {}).get("allowPrivilegeEscalation") is False for c in containers(s)
    ),
    "Running as Non-root": lambda s: all(value is True for value in everywhere(s, "runAsNonRoot")),
    "Running as Non-root user": lambda s: all(context.get("runAsUser") != 0 for context in contexts(s)),
    "Seccomp": lambda s: all(
        (profile or {}).get("type") in ("RuntimeDefault", "Localhost") for profile in everywhere(s, "seccompProfile")
    ),
    "Capabilities: all dropped": lambda s: all(
        "ALL" in c.get("securityContext", {}).get("capabilities", {}).get("drop", ()) for c in containers(s)
    ),
}


def violations(template: Object) -> list[str]:
    """The rules that a pod template breaks."""
    return [name for name, holds in RULES.items() if not holds(template["spec"])]
