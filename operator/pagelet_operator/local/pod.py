"""The part of a Kubernetes Pod that a single machine can run, read from a ReplicaSet's or Deployment's template.

Pure. What a process cannot be given (a volume from a cluster's storage, a value from a Secret) is an UnsupportedPod,
never ignored; what only a cluster has (images, security context, affinity, resources) is not looked at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pagelet_operator.local.probe import Exec, HttpGet, Probe, Role, TcpSocket

KubernetesObject = Mapping[str, Any]

DEFAULT_GRACE_S = 30


class UnsupportedPod(ValueError):
    """A pod that this machine cannot run; the message names the field and what can be used instead."""


@dataclass(frozen=True, slots=True)
class ConfigMapVolume:
    files: Mapping[str, str]
    """File name → content."""


@dataclass(frozen=True, slots=True)
class HostPathVolume:
    path: str


@dataclass(frozen=True, slots=True)
class EmptyDirVolume:
    pass


Volume = ConfigMapVolume | HostPathVolume | EmptyDirVolume


@dataclass(frozen=True, slots=True)
class Mount:
    volume: str
    path: str
    sub_path: str = ""


@dataclass(frozen=True, slots=True)
class Container:
    name: str
    command: tuple[str, ...]
    """Command and arguments, not expanded yet."""
    environment: tuple[tuple[str, str], ...]
    """In order, field references resolved, `$(NAME)` not expanded yet."""
    ports: Mapping[str, int]
    mounts: tuple[Mount, ...]
    probes: Mapping[Role, Probe]


@dataclass(frozen=True, slots=True)
class Pod:
    name: str
    namespace: str
    address: str
    labels: Mapping[str, str]
    containers: tuple[Container, ...]
    volumes: Mapping[str, Volume]
    grace_s: float


def read_pod(
    template: KubernetesObject,
    *,
    name: str,
    namespace: str,
    address: str,
    config_maps: Mapping[str, Mapping[str, str]],
) -> Pod:
    """The pod that `template` (metadata and spec) becomes at `address`; `config_maps` holds each one's data by name.

    Raises UnsupportedPod.
    """
    spec = template["spec"]
    if spec.get("initContainers"):
        raise UnsupportedPod(f"pod {name}: initContainers are run in a cluster only")
    labels = dict(template["metadata"].get("labels", {}))
    fields = {
        "metadata.name": name,
        "metadata.namespace": namespace,
        "status.podIP": address,
        "status.hostIP": address,
        "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
        "spec.nodeName": "localhost",
        **{f"metadata.labels['{key}']": value for key, value in labels.items()},
    }
    return Pod(
        name=name,
        namespace=namespace,
        address=address,
        labels=labels,
        containers=tuple(_container(entry, fields, name) for entry in spec["containers"]),
        volumes={entry["name"]: _volume(entry, config_maps, name) for entry in spec.get("volumes", ())},
        grace_s=float(spec.get("terminationGracePeriodSeconds", DEFAULT_GRACE_S)),
    )


def container_ports(template: KubernetesObject) -> list[int]:
    """Every port that the template's containers say they listen on."""
    return [
        port["containerPort"] for container in template["spec"]["containers"] for port in container.get("ports", ())
    ]


def _container(entry: KubernetesObject, fields: Mapping[str, str], pod: str) -> Container:
    command = tuple(entry.get("command", ()))
    if not command:
        raise UnsupportedPod(f"pod {pod}, container {entry['name']}: a command is needed, as there is no image here")
    ports = {port["name"]: port["containerPort"] for port in entry.get("ports", ()) if "name" in port}
    return Container(
        name=entry["name"],
        command=command + tuple(entry.get("args", ())),
        environment=tuple((variable["name"], _value(variable, fields, pod)) for variable in entry.get("env", ())),
        ports=ports,
        mounts=tuple(
            Mount(mount["name"], mount["mountPath"].rstrip("/"), mount.get("subPath", ""))
            for mount in entry.get("volumeMounts", ())
        ),
        probes={role: _probe(entry[f"{role}Probe"], ports, pod) for role in Role if f"{role}Probe" in entry},
    )


def _value(variable: KubernetesObject, fields: Mapping[str, str], pod: str) -> str:
    source = variable.get("valueFrom")
    if source is None:
        return str(variable.get("value", ""))
    path = source.get("fieldRef", {}).get("fieldPath", "")
    if path not in fields:
        raise UnsupportedPod(
            f"pod {pod}: variable {variable['name']} comes from {source}, which has no value on this machine; "
            f"known fields: {', '.join(fields)}"
        )
    return fields[path]


def _volume(entry: KubernetesObject, config_maps: Mapping[str, Mapping[str, str]], pod: str) -> Volume:
    match entry:
        case {"configMap": {"name": str(config_map)}}:
            if config_map not in config_maps:
                raise UnsupportedPod(f"pod {pod}: volume {entry['name']} wants ConfigMap {config_map}, not rendered")
            return ConfigMapVolume(_files(entry["configMap"], config_maps[config_map], pod))
        case {"hostPath": {"path": str(path)}}:
            return HostPathVolume(path)
        case {"emptyDir": _}:
            return EmptyDirVolume()
    kind = ", ".join(sorted(set(entry) - {"name"}))
    raise UnsupportedPod(
        f"pod {pod}: volume {entry['name']} is a {kind}, which only a cluster has; here: configMap, hostPath, emptyDir"
    )


def _files(volume: KubernetesObject, data: Mapping[str, str], pod: str) -> Mapping[str, str]:
    """All keys, or those that the volume names, at the paths it gives them."""
    if "items" not in volume:
        return data
    if absent := {item["key"] for item in volume["items"]} - data.keys():
        raise UnsupportedPod(f"pod {pod}: ConfigMap {volume['name']} has no key {', '.join(sorted(absent))}")
    return {item["path"]: data[item["key"]] for item in volume["items"]}


def _probe(entry: KubernetesObject, ports: Mapping[str, int], pod: str) -> Probe:
    def port_number(port: int | str) -> int:
        if isinstance(port, str) and port not in ports:
            raise UnsupportedPod(f"pod {pod}: a probe asks port {port!r}; the container has {', '.join(ports)}")
        return ports[port] if isinstance(port, str) else port

    action: HttpGet | TcpSocket | Exec
    match entry:
        case {"httpGet": http}:
            if http.get("scheme", "HTTP") != "HTTP":
                raise UnsupportedPod(f"pod {pod}: a probe speaks {http['scheme']}; probes here speak plain HTTP")
            action = HttpGet(http.get("path", "/"), port_number(http["port"]))
        case {"tcpSocket": tcp}:
            action = TcpSocket(port_number(tcp["port"]))
        case {"exec": {"command": command}}:
            action = Exec(_strings(command))
        case _:
            raise UnsupportedPod(
                f"pod {pod}: a probe of an unknown kind: {sorted(entry)}; here: httpGet, tcpSocket, exec"
            )
    return Probe(
        action,
        initial_delay_s=entry.get("initialDelaySeconds", 0),
        period_s=entry.get("periodSeconds", 10),
        timeout_s=entry.get("timeoutSeconds", 1),
        success_threshold=entry.get("successThreshold", 1),
        failure_threshold=entry.get("failureThreshold", 3),
    )


def _strings(values: Sequence[Any]) -> tuple[str, ...]:
    return tuple(str(value) for value in values)
