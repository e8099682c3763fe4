"""Who may do what, as the chart renders it: the operator's own list, and no right beyond listed namespaces."""

from pagelet_operator.permissions import CLUSTER, LEASE, NAMESPACED, rules

from .rendered import deployment, named, of_kind

LISTED = ("--set", "watchNamespaces={team-a,team-b}")


def account_of(objects) -> dict[str, str]:
    name = deployment(objects)["spec"]["template"]["spec"]["serviceAccountName"]
    assert named(objects, "ServiceAccount", name)["automountServiceAccountToken"] is False
    return {"kind": "ServiceAccount", "name": name, "namespace": "pagelet-system"}


def granted(objects) -> dict[str, list]:
    """Namespace (or * for all) → the rules that bindings give to the operator's account there."""
    account = account_of(objects)
    rights: dict[str, list] = {}
    for binding in of_kind(objects, "RoleBinding", "ClusterRoleBinding"):
        assert binding["subjects"] == [account]
        role = named(
            [obj for obj in objects if obj["metadata"].get("namespace") == binding["metadata"].get("namespace")],
            binding["roleRef"]["kind"],
            binding["roleRef"]["name"],
        )
        rights.setdefault(binding["metadata"].get("namespace", "*"), []).extend(role["rules"])
    return rights


def test_the_operator_has_exactly_its_own_list_everywhere_and_a_lease_at_home(helm):
    assert granted(helm.render()) == {"*": rules(NAMESPACED + CLUSTER), "pagelet-system": rules(LEASE)}


def test_with_listed_namespaces_it_has_roles_there_and_no_right_in_the_cluster(helm):
    objects = helm.render(*LISTED)
    expected = {"team-a": rules(NAMESPACED), "team-b": rules(NAMESPACED), "pagelet-system": rules(LEASE)}
    assert granted(objects) == expected
    assert not of_kind(objects, "ClusterRoleBinding")


def test_with_listed_namespaces_nothing_is_cluster_wide_that_cannot_be_left_out(helm):
    objects = helm.render(*LISTED, "--set", "rbac.aggregate=false,crds.install=false")
    assert all(obj["metadata"].get("namespace") for obj in objects)


def test_its_own_namespace_may_be_among_those_listed(helm):
    rights = granted(helm.render("--set", "watchNamespaces={pagelet-system}"))
    assert rights == {"pagelet-system": rules(NAMESPACED + LEASE)}


def test_no_rule_has_a_wildcard_or_reads_secrets(helm):
    for role in of_kind(helm.render(), "Role", "ClusterRole"):
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert "secrets" not in rule["resources"]


def test_who_views_may_read_and_who_edits_may_write_and_scale_but_nobody_writes_status(helm):
    objects = helm.render()

    def allowed(label: str) -> set[tuple[str, str]]:
        roles = [
            role
            for role in of_kind(objects, "ClusterRole")
            if role["metadata"]["labels"].get(f"rbac.authorization.k8s.io/aggregate-to-{label}") == "true"
        ]
        every = [rule for role in roles for rule in role["rules"]]
        assert all(rule["apiGroups"] == ["pagelet.io"] for rule in every)
        return {(resource, verb) for rule in every for resource in rule["resources"] for verb in rule["verbs"]}

    service, scale, status = "inferenceservices", "inferenceservices/scale", "inferenceservices/status"
    read = {(service, verb) for verb in ("get", "list", "watch")} | {(scale, "get"), (status, "get")}
    write = {(service, verb) for verb in ("create", "update", "patch", "delete", "deletecollection")}
    assert allowed("view") == read
    assert allowed("edit") == allowed("admin") == read | write | {(scale, "update"), (scale, "patch")}


def test_the_roles_for_people_give_the_operator_nothing(helm):
    objects = helm.render()
    bound = {binding["roleRef"]["name"] for binding in of_kind(objects, "ClusterRoleBinding")}
    assert bound == {"pagelet-operator"}


def test_the_test_pod_has_an_account_without_rights(helm):
    objects = helm.render()
    [pod] = of_kind(objects, "Pod")
    account = pod["spec"]["serviceAccountName"]
    assert account != account_of(objects)["name"]
    subjects = [subject for obj in objects for subject in obj.get("subjects", ())]
    assert account not in {subject["name"] for subject in subjects}
