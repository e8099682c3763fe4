"""Who may talk to whom: nobody, but for what is listed here.

Every pod of the service is selected by the first policy, which allows nothing; the others add. Probes and metrics are
open to all, because neither kubelets nor Prometheus have labels that could be known here.
"""

from collections.abc import Sequence
from typing import Any

from pagelet_api import names
from pagelet_api.v1alpha1 import InferenceService

from pagelet_operator.desired.facts import Facts
from pagelet_operator.desired.metadata import FETCHES_LABEL, KubernetesObject, metadata, selector
from pagelet_operator.revision import Revision

# A name server's own port, behind its Service: 53; without privileges 8053 (Gardener) or 5353 (OpenShift).
_DNS_PORTS = (53, 5353, 8053)
_NODE_LOCAL_DNS = "169.254.0.0/16"


def network_policies(service: InferenceService, revisions: Sequence[Revision], facts: Facts) -> list[KubernetesObject]:
    engine, gateway = (selector(service, component) for component in (names.COMPONENT_ENGINE, names.COMPONENT_GATEWAY))
    ops_of_engine, ops_of_gateway = _tcp(names.ENGINE_OPS_PORT), _tcp(facts.gateway_ops_port)
    grpc = _tcp(names.ENGINE_GRPC_PORT)
    policies = [
        _policy(service, "deny", selector(service), ingress=[], egress=[]),
        _policy(service, "dns", selector(service), egress=_dns()),
        _policy(
            service,
            "gateway",
            gateway,
            ingress=[{"ports": [_tcp(facts.http_port), ops_of_gateway]}],
            egress=[{"to": [_pods(engine)], "ports": [grpc]}],
        ),
        _policy(
            service,
            "engine",
            engine,
            ingress=[{"from": [_pods(gateway)], "ports": [grpc]}, {"ports": [ops_of_engine]}],
        ),
    ]
    fetching = [revision for revision in revisions if _fetches(revision)]
    if service.spec.model.source.is_fetched or fetching:
        wanted = {**selector(service), FETCHES_LABEL: "true"}
        policies.append(_policy(service, "fetch", wanted, egress=_listed(service)))
    return policies


def _fetches(revision: Revision) -> bool:
    return FETCHES_LABEL in revision.pod_template.get("metadata", {}).get("labels", {})


def _listed(service: InferenceService) -> list[KubernetesObject]:
    """Where a model may come from; nothing listed: from anywhere."""
    rules = []
    for rule in service.spec.security.egress:
        allowed: KubernetesObject = {"to": [{"ipBlock": {"cidr": rule.cidr}}]}
        if rule.ports:
            allowed["ports"] = [_tcp(port) for port in rule.ports]
        rules.append(allowed)
    return rules or [{}]


def _dns() -> list[KubernetesObject]:
    """Name servers are pods of this cluster, or listen on the node itself at a link-local address."""
    return [
        {
            "to": [{"namespaceSelector": {}}, {"ipBlock": {"cidr": _NODE_LOCAL_DNS}}],
            "ports": [{"port": port, "protocol": protocol} for port in _DNS_PORTS for protocol in ("UDP", "TCP")],
        }
    ]


def _policy(service: InferenceService, name: str, pods: dict[str, str], **rules: Any) -> KubernetesObject:
    """`rules` holds ingress, egress or both: what is named is restricted to what it lists."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(service, f"{service.metadata.name}-{name}"),
        "spec": {
            "podSelector": {"matchLabels": pods},
            "policyTypes": [direction.capitalize() for direction in rules],
            **rules,  # an empty list too: rules that somebody added to it are taken back
        },
    }


def _pods(labels: dict[str, str]) -> KubernetesObject:
    return {"podSelector": {"matchLabels": labels}}


def _tcp(port: int) -> KubernetesObject:
    return {"port": port, "protocol": "TCP"}
