"""Scenario 14: what the operator asked of the API server in this whole run, beside what its role grants.

Named so that it runs last. NetworkPolicies are not looked at here: this cluster's network enforces none, so they are
evaluated as data in tests/operator.
"""

import json
from typing import Any

from pagelet_operator.permissions import CLUSTER, LEASE, NAMESPACED

from e2e.cluster import Machine
from e2e.kube import Kube
from e2e.pods.conftest import SYSTEM

Right = tuple[str, str, str]
"""API group, resource or resource/subresource, verb."""


def asked(audit_log: str, user: str) -> dict[Right, bool]:
    """What the user asked for, and whether its roles always allowed it. (A namespace that ends forbids things, too.)"""
    found: dict[Right, bool] = {}
    for line in audit_log.splitlines():
        if user not in line:
            continue
        event = json.loads(line)
        about = event.get("objectRef")
        if event["stage"] != "ResponseComplete" or event["user"]["username"] != user or not about:
            continue
        resource = "/".join(filter(None, (about["resource"], about.get("subresource"))))
        right = (about.get("apiGroup", ""), resource, event["verb"])
        allowed = event["annotations"]["authorization.k8s.io/decision"] == "allow"
        found[right] = found.get(right, True) and allowed
    return found


def granted(rules: list[dict[str, Any]]) -> set[Right]:
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule.get("apiGroups", ())
        for resource in rule.get("resources", ())
        for verb in rule["verbs"]
    }


def rules_of(kube: Kube, user: str) -> set[Right]:
    """All that is granted to a ServiceAccount by ClusterRoles and by the Roles of its namespace."""
    _, _, namespace, name = user.split(":")
    rights: set[Right] = set()
    for binding_kind, role_kind, where in (
        ("ClusterRoleBinding", "ClusterRole", None),
        ("RoleBinding", "Role", namespace),
    ):
        for binding in kube.list(binding_kind, where):
            subjects = [(s.get("namespace"), s["name"]) for s in binding.get("subjects") or ()]
            if (namespace, name) in subjects:
                role = kube.get(role_kind, binding["roleRef"]["name"], where or "")
                assert role
                rights |= granted(role["rules"])
    return rights


def test_the_operator_needs_no_more_than_its_role_and_has_no_more_than_is_stated(
    machine: Machine, kube: Kube, installed: float, capsys: Any
) -> None:
    [deployment] = kube.list("Deployment", SYSTEM)
    account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
    user = f"system:serviceaccount:{SYSTEM}:{account}"
    seen = asked(machine.layout.audit_log.read_text(), user)
    assert seen, f"{user} asked for nothing"
    rights = rules_of(kube, user)
    assert not {right for right, allowed in seen.items() if not allowed}
    assert set(seen) <= rights
    stated = {(p.group, p.resource, verb) for p in (*NAMESPACED, *CLUSTER, *LEASE) for verb in p.verbs}
    assert rights == stated
    with capsys.disabled():
        idle = sorted("/".join(right) for right in rights - set(seen))
        print(f"\n  asked for {len(seen)} of {len(rights)} rights; not needed in this run: {', '.join(idle)}")
