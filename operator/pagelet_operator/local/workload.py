"""Which pods and services a list of Kubernetes objects means on this machine. Pure.

ReplicaSets and Deployments become numbered pods, each with an address of its own, so that the same ports work for all.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pagelet_operator.local.pod import KubernetesObject, Pod, UnsupportedPod, container_ports, read_pod

SERVICE_ADDRESS = "127.0.0.1"
_WORKLOADS = ("ReplicaSet", "Deployment")


@dataclass(frozen=True, slots=True)
class Service:
    name: str
    namespace: str
    selector: Mapping[str, str]
    headless: bool
    publishes_unready: bool

    @property
    def host_names(self) -> tuple[str, ...]:
        """The names under which pods look it up, as a cluster's DNS search path allows."""
        short = f"{self.name}.{self.namespace}"
        return self.name, short, f"{short}.svc", f"{short}.svc.cluster.local"

    def selects(self, labels: Mapping[str, str]) -> bool:
        return bool(self.selector) and self.selector.items() <= labels.items()


def read_services(objects: Iterable[KubernetesObject]) -> tuple[Service, ...]:
    return tuple(
        Service(
            name=item["metadata"]["name"],
            namespace=item["metadata"]["namespace"],
            selector=item["spec"].get("selector", {}),
            headless=item["spec"].get("clusterIP") == "None",
            publishes_unready=item["spec"].get("publishNotReadyAddresses", False),
        )
        for item in objects
        if item["kind"] == "Service"
    )


def read_workloads(
    objects: Sequence[KubernetesObject], free_address: Callable[[Sequence[int]], str]
) -> tuple[tuple[Pod, ...], ...]:
    """The pods of each workload, in the order of the objects.

    `free_address` gives an address on which the ports it is told are free, a new one each time. A Service that is not
    headless has one address, here the one everybody knows, and no proxy behind it: its first pod listens there.
    Raises UnsupportedPod.
    """
    config_maps = {item["metadata"]["name"]: item.get("data", {}) for item in objects if item["kind"] == "ConfigMap"}
    unclaimed = [service for service in read_services(objects) if not service.headless]
    workloads = []
    for item in objects:
        if item["kind"] not in _WORKLOADS:
            continue
        template, namespace = item["spec"]["template"], item["metadata"]["namespace"]
        labels = template["metadata"].get("labels", {})
        ports = container_ports(template)
        pods = []
        for index in range(item["spec"].get("replicas", 1)):
            behind = next((service for service in unclaimed if service.selects(labels)), None)
            if behind is not None:
                unclaimed.remove(behind)
            pods.append(
                read_pod(
                    template,
                    name=f"{item['metadata']['name']}-{index}",
                    namespace=namespace,
                    address=SERVICE_ADDRESS if behind is not None else free_address(ports),
                    config_maps=config_maps,
                )
            )
        workloads.append(tuple(pods))
    _check_disjoint(workloads)
    return tuple(workloads)


def hosts_file(services: Iterable[Service], ready: Callable[[Pod], bool], pods: Sequence[Pod]) -> str:
    """What a cluster's DNS would answer now, in the form of /etc/hosts: a headless Service has its ready pods."""
    lines = []
    for service in services:
        addresses = [SERVICE_ADDRESS]
        if service.headless:
            chosen = (pod for pod in pods if service.selects(pod.labels))
            addresses = [pod.address for pod in chosen if service.publishes_unready or ready(pod)]
        lines += [f"{address} {' '.join(service.host_names)}\n" for address in addresses]
    return "".join(lines)


def _check_disjoint(workloads: Iterable[Sequence[Pod]]) -> None:
    seen: set[tuple[str, int]] = set()
    for pod in (pod for pods in workloads for pod in pods):
        listening = {(pod.address, port) for container in pod.containers for port in container.ports.values()}
        if seen & listening:
            address, port = min(seen & listening)
            raise UnsupportedPod(f"pod {pod.name}: two pods want port {port} on {address}; give one Service one port")
        seen |= listening
