"""Who may talk to whom, as a table of cases over the rendered policies."""

from typing import Any

import pytest
from pagelet_api import names
from pagelet_operator.desired import KubernetesObject

from ..conftest import document
from .conftest import of, one
from .network_matcher import End, allows

PVC = {"source": {"pvc": {"claimName": "models"}}}
S3 = {"source": {"s3": {"uri": "s3://models/m"}}, "storage": {"pvc": {"size": "5Gi"}}}
EPHEMERAL = {"source": {"s3": {"uri": "s3://models/m"}}, "storage": {"ephemeral": {}}}

CLIENT = End(labels={"app": "chat-ui"}, namespace="other")
NEIGHBOUR = End(labels={"app": "neighbour"})
KUBELET = End(address="10.0.0.5")
PROMETHEUS = End(labels={"app": "prometheus"}, namespace="monitoring")
NAME_SERVER = End(labels={"k8s-app": "kube-dns"}, namespace="kube-system")
NODE_LOCAL_DNS = End(address="169.254.20.10")
STORE = End(address="10.1.2.3")
INTERNET = End(address="93.184.216.34")


def cluster(model: dict[str, Any], **spec: Any) -> tuple[list[KubernetesObject], dict[str, End]]:
    """The policies, and the service's pods as ends of connections."""
    children = of(document(model=model, **spec))
    kinds = {"engine": "ReplicaSet", "gateway": "Deployment", "model": "Job"}
    pods = {
        name: End(labels=one(children, kind)["spec"]["template"]["metadata"]["labels"]) for name, kind in kinds.items()
    }
    other = of(document() | {"metadata": {"name": "other", "namespace": "team"}})
    pods["gateway of another service"] = End(labels=one(other, "Deployment")["spec"]["template"]["metadata"]["labels"])
    return [child for child in children if child["kind"] == "NetworkPolicy"], pods


HTTP, GRPC = names.GATEWAY_HTTP_PORT, names.ENGINE_GRPC_PORT
GATEWAY_OPS, ENGINE_OPS = names.GATEWAY_OPS_PORT, names.ENGINE_OPS_PORT

CASES: list[tuple[End | str, End | str, int, str, bool]] = [
    # clients
    (CLIENT, "gateway", HTTP, "TCP", True),
    (INTERNET, "gateway", HTTP, "TCP", True),
    (CLIENT, "gateway", 22, "TCP", False),
    (CLIENT, "engine", GRPC, "TCP", False),
    (NEIGHBOUR, "engine", GRPC, "TCP", False),
    ("gateway of another service", "engine", GRPC, "TCP", False),
    ("gateway", "engine", GRPC, "TCP", True),
    ("gateway", "engine", 22, "TCP", False),
    # probes and metrics
    (KUBELET, "engine", ENGINE_OPS, "TCP", True),
    (KUBELET, "gateway", GATEWAY_OPS, "TCP", True),
    (PROMETHEUS, "engine", ENGINE_OPS, "TCP", True),
    (PROMETHEUS, "gateway", GATEWAY_OPS, "TCP", True),
    (PROMETHEUS, "model", 80, "TCP", False),
    # names
    ("gateway", NAME_SERVER, 53, "UDP", True),
    ("engine", NAME_SERVER, 8053, "TCP", True),
    ("model", NODE_LOCAL_DNS, 53, "UDP", True),
    ("engine", INTERNET, 53, "UDP", False),
    # nothing leaves
    ("engine", INTERNET, 443, "TCP", False),
    ("engine", "engine", GRPC, "TCP", False),
    ("engine", "gateway", HTTP, "TCP", False),
    ("gateway", INTERNET, 443, "TCP", False),
    ("gateway", NEIGHBOUR, 80, "TCP", False),
    ("model", "engine", GRPC, "TCP", False),
]


@pytest.mark.parametrize(("source", "target", "port", "protocol", "allowed"), CASES)
@pytest.mark.parametrize("model", [PVC, S3], ids=["pvc", "s3"])
def test_who_may_talk_to_whom(
    source: End | str, target: End | str, port: int, protocol: str, allowed: bool, model: dict[str, Any]
) -> None:
    policies, pods = cluster(model)
    ends = [end if isinstance(end, End) else pods[end] for end in (source, target)]
    assert allows(policies, *ends, port, protocol) is allowed


LISTED = {"egress": [{"cidr": "10.1.0.0/16", "ports": [443]}, {"cidr": "fd00::/8"}]}


@pytest.mark.parametrize(
    ("model", "security", "pod", "target", "port", "allowed"),
    [
        (PVC, {}, "model", STORE, 443, False),  # reads a volume
        (S3, {}, "model", STORE, 443, True),
        (S3, {}, "model", INTERNET, 443, True),
        (S3, {}, "engine", STORE, 443, False),
        (S3, LISTED, "model", STORE, 443, True),
        (S3, LISTED, "model", STORE, 80, False),
        (S3, LISTED, "model", INTERNET, 443, False),
        (S3, LISTED, "model", End(address="fd00::1"), 9000, True),
        (EPHEMERAL, LISTED, "engine", STORE, 443, True),  # its init container fetches
        (EPHEMERAL, LISTED, "engine", INTERNET, 443, False),
        (EPHEMERAL, LISTED, "gateway", STORE, 443, False),
    ],
)
def test_only_pods_that_fetch_reach_out_and_only_where_it_is_listed(
    model: dict[str, Any], security: dict[str, Any], pod: str, target: End, port: int, allowed: bool
) -> None:
    policies, pods = cluster(model, security=security)
    assert allows(policies, pods[pod], target, port) is allowed


def test_pods_of_others_are_nobodys_business_here() -> None:
    policies, _ = cluster(PVC)
    assert allows(policies, NEIGHBOUR, INTERNET, 443)
    assert allows(policies, CLIENT, NEIGHBOUR, 80)
