"""The list of permissions covers what the operator does, and grants nothing on anything else."""

from pagelet_operator import permissions
from pagelet_operator.cluster.kinds import CHILDREN, EVENT, LEASE, NODE, POD, SERVICE, WATCHED
from pagelet_operator.plan import RENDERED_KINDS


def granted(list_: tuple[permissions.Permission, ...]) -> dict[tuple[str, str], set[str]]:
    return {(permission.group, permission.resource): set(permission.verbs) for permission in list_}


def test_every_kind_that_is_rendered_may_be_applied_watched_and_deleted() -> None:
    rights = granted(permissions.NAMESPACED)
    assert {kind[:2] for kind in CHILDREN} == set(RENDERED_KINDS)
    for kind in CHILDREN:
        assert rights[kind.group, kind.plural] == {"get", "list", "watch", "create", "patch", "delete"}


def test_nothing_else_is_granted() -> None:
    known = {(kind.group, kind.plural) for kind in (*WATCHED, EVENT)}
    assert {(group, resource.partition("/")[0]) for group, resource in granted(permissions.NAMESPACED)} == known
    assert set(granted(permissions.CLUSTER)) == {(NODE.group, NODE.plural)}
    assert set(granted(permissions.LEASE)) == {(LEASE.group, LEASE.plural)}
    rights = granted(permissions.NAMESPACED)
    assert rights[POD.group, POD.plural] == {"list", "watch"}
    assert rights[SERVICE.group, SERVICE.plural] == {"get", "list", "watch"}
    assert not {("", "secrets"), ("", "pods/exec")} & set(rights)
    for list_ in (permissions.NAMESPACED, permissions.CLUSTER, permissions.LEASE):
        assert "*" not in str([permission.rule() for permission in list_])


def test_a_rule_is_what_a_role_takes() -> None:
    assert permissions.rules(permissions.CLUSTER) == [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}]
