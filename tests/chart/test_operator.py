"""The operator's pods, as the chart renders them."""

import pytest
from pagelet_operator.health import make_app
from pagelet_operator.settings import Settings, parse_settings

from .rendered import CHART, HelmError, deployment, named, of_kind, pod_specs

DIGEST = "sha256:" + "0123456789abcdef" * 4
MANY_VALUES = (
    (),
    ("--set", "replicas=1,networkPolicy.enabled=false,crds.install=false,rbac.aggregate=false"),
    ("--set", "watchNamespaces={a,b}", "--set", "imagePullSecrets={one,two}"),
    ("--set", "metrics.serviceMonitor.enabled=true", "--api-versions", "monitoring.coreos.com/v1"),
    (
        "--set-json",
        'tolerations=[{"key":"gpu","operator":"Exists"}]',
        "--set",
        "priorityClassName=high,registry=r.local/x/",
    ),
    ("--set", "podLabels.team=ml,podAnnotations.note=hello,nodeSelector.pool=system,resources.limits.memory=2Gi"),
    ("--set-json", 'affinity={"nodeAffinity":{}}', "--set", "networkPolicy.apiServerCidrs={10.0.0.0/8}"),
)


def settings(objects) -> Settings:
    [container] = deployment(objects)["spec"]["template"]["spec"]["containers"]
    return parse_settings(container["args"], {})


@pytest.mark.parametrize("flags", MANY_VALUES, ids=lambda flags: " ".join(flags) or "defaults")
def test_every_pod_satisfies_the_restricted_standard(helm, flags):
    specs = pod_specs(helm.render(*flags))
    assert len(specs) == 2
    for spec in specs:
        assert not any(spec.get(field) for field in ("hostNetwork", "hostPID", "hostIPC"))
        assert all({"emptyDir", "configMap", "secret", "projected"} & set(volume) for volume in spec.get("volumes", ()))
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == 10001
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("flags", MANY_VALUES, ids=lambda flags: " ".join(flags) or "defaults")
def test_helm_finds_nothing_to_complain_about(helm, flags):
    lintable = [flag for flag in flags if flag not in ("--api-versions", "monitoring.coreos.com/v1")]
    assert "0 chart(s) failed" in helm.run("lint", "--strict", str(CHART), *lintable)


def test_the_operator_understands_its_arguments(helm):
    found = settings(helm.render("--set", "workers=7,logFormat=text"))
    assert found.workers == 7
    assert found.log_format.value == "text"
    assert found.ops_port == 8080
    assert found.lease_namespace == "pagelet-system"
    assert found.namespaces == ()


def test_listed_namespaces_reach_the_operator(helm):
    assert settings(helm.render("--set", "watchNamespaces={team-a,team-b}")).namespaces == ("team-a", "team-b")


def test_images_are_the_charts_version_and_name_no_registry(helm):
    release = settings(helm.render()).release
    assert (release.engine_image, release.gateway_image, release.model_image) == (
        "pagelet-engine:0.1.0",
        "pagelet-gateway:0.1.0",
        "pagelet-operator:0.1.0",
    )


def test_a_registry_goes_before_all_and_a_digest_wins_over_a_tag(helm):
    objects = helm.render("--set", f"registry=r.local/x/,images.engine.tag=v9,images.engine.digest={DIGEST}")
    release = settings(objects).release
    assert release.engine_image == f"r.local/x/pagelet-engine@{DIGEST}"
    assert release.gateway_image == "r.local/x/pagelet-gateway:0.1.0"
    [container] = deployment(objects)["spec"]["template"]["spec"]["containers"]
    assert container["image"] == release.model_image == "r.local/x/pagelet-operator:0.1.0"


def test_probes_ask_for_paths_that_the_operator_serves(helm):
    served = {route.resource.canonical for route in make_app(lambda: None, lambda: b"").router.routes()}
    [container] = deployment(helm.render())["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] in served
        assert ports[container[probe]["httpGet"]["port"]] == settings(helm.render()).ops_port


@pytest.mark.parametrize("flags", MANY_VALUES, ids=lambda flags: " ".join(flags) or "defaults")
def test_all_selectors_find_the_operators_pods_and_no_other(helm, flags):
    objects = helm.render(*flags)
    labels = deployment(objects)["spec"]["template"]["metadata"]["labels"]
    selectors = [
        obj["spec"]["selector"] for obj in of_kind(objects, "Deployment", "PodDisruptionBudget", "ServiceMonitor")
    ]
    wanted = [selector["matchLabels"] for selector in selectors]
    wanted += [obj["spec"]["selector"] for obj in of_kind(objects, "Service")]
    wanted += [obj["spec"]["podSelector"]["matchLabels"] for obj in of_kind(objects, "NetworkPolicy")]
    assert len(wanted) >= 2
    for selector in wanted:
        assert selector.items() <= labels.items()
        assert "app.kubernetes.io/instance" in selector
    [test] = of_kind(objects, "Pod")
    assert not wanted[0].items() <= test["metadata"].get("labels", {}).items()


def test_labels_of_the_user_never_take_the_place_of_ours(helm):
    objects = helm.render("--set-json", 'podLabels={"app.kubernetes.io/name":"mine","team":"ml"}')
    labels = deployment(objects)["spec"]["template"]["metadata"]["labels"]
    assert (labels["app.kubernetes.io/name"], labels["team"]) == ("pagelet-operator", "ml")


def test_a_disruption_budget_protects_two_replicas_and_blocks_no_drain_of_one(helm):
    assert len(of_kind(helm.render(), "PodDisruptionBudget")) == 1
    assert not of_kind(helm.render("--set", "replicas=1"), "PodDisruptionBudget")


def test_a_service_monitor_is_there_where_it_is_wanted_and_known(helm):
    wanted = ("--set", "metrics.serviceMonitor.enabled=true")
    known = ("--api-versions", "monitoring.coreos.com/v1")
    assert not of_kind(helm.render(*wanted), "ServiceMonitor")
    assert not of_kind(helm.render(*known), "ServiceMonitor")
    [monitor] = of_kind(helm.render(*wanted, *known), "ServiceMonitor")
    [service] = of_kind(helm.render(), "Service")
    assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()


def test_the_operator_may_talk_to_dns_and_the_api_server_alone(helm):
    policy = named(
        helm.render("--set", "networkPolicy.apiServerCidrs={10.0.0.1/32}"), "NetworkPolicy", "pagelet-operator"
    )
    dns, api = policy["spec"]["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    assert {port["port"] for port in api["ports"]} == {443, 6443}
    assert api["to"] == [{"ipBlock": {"cidr": "10.0.0.1/32"}}]
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert not of_kind(helm.render("--set", "networkPolicy.enabled=false"), "NetworkPolicy")


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--set", "replcas=3"), "additional properties 'replcas' not allowed"),
        (("--set", "images.engine.sha=x"), "additional properties 'sha' not allowed"),
        (("--set", "replicas=-1"), "at '/replicas': minimum: got -1, want 0"),
        (("--set", "workers=0"), "at '/workers': minimum: got 0, want 1"),
        (("--set", "logFormat=xml"), "value must be one of 'json', 'text'"),
        (("--set", "imagePullPolicy=Sometimes"), "value must be one of 'Always', 'IfNotPresent', 'Never'"),
        (("--set", "watchNamespaces=team-a"), "at '/watchNamespaces': got string, want array"),
        (("--set", "watchNamespaces={a,a}"), "items at 0 and 1 are equal"),
        (("--set-json", "nodeSelector.gpu=true"), "at '/nodeSelector/gpu': got boolean, want string"),
        (
            ("--set", "images.engine.digest=abc"),
            'images.engine.digest is "abc"; wanted sha256: and 64 hexadecimal digits',
        ),
        (("--set", "registry=https://r.local"), 'registry is "https://r.local"; wanted a host'),
        (("--set", "images.gateway.repository="), "images.gateway.repository is empty; wanted a name such as"),
    ],
)
def test_nonsense_is_refused_with_what_was_wanted(helm, flags, sentence):
    with pytest.raises(HelmError) as refused:
        helm.render(*flags)
    assert sentence in str(refused.value)


def test_names_that_look_like_numbers_stay_names(helm):
    flags = ("--set-json", 'watchNamespaces=["123","on"]', "--set-json", 'imagePullSecrets=["007"]')
    objects = helm.render(*flags, release="42", namespace="123")
    assert all(isinstance(obj["metadata"].get("namespace", ""), str) for obj in objects)
    assert {role["metadata"]["namespace"] for role in of_kind(objects, "Role")} == {"123", "on"}
    assert deployment(objects)["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "007"}]


def test_a_long_release_name_leaves_room_for_suffixes(helm):
    objects = helm.render(release="x" * 53)
    assert max(len(obj["metadata"]["name"]) for obj in objects) <= 63


def test_the_only_hooks_are_those_of_helm_test(helm):
    hooks = {obj["metadata"].get("annotations", {}).get("helm.sh/hook") for obj in helm.render()}
    assert hooks == {None, "test"}
