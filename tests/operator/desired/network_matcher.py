"""NetworkPolicies evaluated as data, because the clusters of the tests enforce none.

Additive, as Kubernetes defines them: a pod that some policy selects for a direction is closed in it but for what the
policies that select it list; traffic needs both its ends' consent. Source: networking.k8s.io/v1 NetworkPolicy.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class End:
    """A pod (labels), or an address outside (no labels)."""

    address: str = "10.244.0.9"
    labels: dict[str, str] = field(default_factory=dict)
    namespace: str = "team"

    @property
    def is_pod(self) -> bool:
        return bool(self.labels)


def allows(policies: Sequence[Object], source: End, target: End, port: int, protocol: str = "TCP") -> bool:
    """Whether `source` may open a connection to `port` of `target`."""
    return _consents(policies, "egress", "to", source, target, port, protocol) and _consents(
        policies, "ingress", "from", target, source, port, protocol
    )


def _consents(
    policies: Sequence[Object], direction: str, peers: str, pod: End, other: End, port: int, protocol: str
) -> bool:
    selecting = [
        policy["spec"]
        for policy in policies
        if pod.is_pod
        and pod.namespace == policy["metadata"]["namespace"]
        and direction.capitalize() in policy["spec"]["policyTypes"]
        and _selected(policy["spec"]["podSelector"], pod.labels)
    ]
    namespace = policies[0]["metadata"]["namespace"]
    return not selecting or any(
        _lists_port(rule, port, protocol) and _lists_peer(rule.get(peers), other, namespace)
        for spec in selecting
        for rule in spec.get(direction, ())
    )


def _lists_port(rule: Object, port: int, protocol: str) -> bool:
    return "ports" not in rule or any(p["port"] == port and p["protocol"] == protocol for p in rule["ports"])


def _lists_peer(peers: list[Object] | None, other: End, namespace: str) -> bool:
    return peers is None or any(_is_peer(peer, other, namespace) for peer in peers)


def _is_peer(peer: Object, other: End, namespace: str) -> bool:
    if "ipBlock" in peer:
        block = ipaddress.ip_network(peer["ipBlock"]["cidr"])
        return ipaddress.ip_address(other.address) in block
    assert peer.keys() <= {"podSelector", "namespaceSelector"}
    if not other.is_pod:
        return False
    in_namespace = peer["namespaceSelector"] == {} if "namespaceSelector" in peer else other.namespace == namespace
    return in_namespace and _selected(peer.get("podSelector", {}), other.labels)


def _selected(selector: Object, labels: dict[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels"}
    return bool(selector.get("matchLabels", {}).items() <= labels.items())
