"""The rendered objects: the same bytes for the same input, and nothing an API server or a kubelet would refuse."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from pagelet_api import names
from pagelet_api.config import EngineConfig, GatewayConfig
from pagelet_api.v1alpha1 import InferenceService, load_inference_service
from pagelet_operator.desired import Facts, KubernetesObject, desired_children, new_revision

from ..conftest import document, services

FACTS = Facts(engine_image="engine:1", gateway_image="gateway:1")
DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def render(service: InferenceService, replicas: int | None = None) -> tuple[KubernetesObject, ...]:
    replicas = service.spec.replicas if replicas is None else replicas
    return desired_children(service, [new_revision(service, FACTS, replicas)], FACTS)


def of(fields: dict[str, Any]) -> tuple[KubernetesObject, ...]:
    return render(load_inference_service(fields))


def one(children: tuple[KubernetesObject, ...], kind: str, component: str = "") -> KubernetesObject:
    [found] = [
        child
        for child in children
        if child["kind"] == kind and component in ("", child["metadata"]["labels"].get(names.LABEL_COMPONENT))
    ]
    return found


def pod_templates(children: tuple[KubernetesObject, ...]) -> list[KubernetesObject]:
    return [child["spec"]["template"] for child in children if "template" in child.get("spec", {})]


def container_of(children: tuple[KubernetesObject, ...], kind: str) -> KubernetesObject:
    [container] = one(children, kind)["spec"]["template"]["spec"]["containers"]
    return container


@given(services())
@settings(max_examples=50)
def test_the_same_input_gives_the_same_bytes(service: InferenceService) -> None:
    again = load_inference_service(json.loads(service.model_dump_json(by_alias=True, exclude_defaults=True)))
    assert json.dumps(render(service)) == json.dumps(render(again))


@given(services())
@settings(max_examples=50)
def test_every_object_is_complete_uniquely_named_and_owned(service: InferenceService) -> None:
    children = render(service)
    keys = [(child["kind"], child["metadata"]["name"]) for child in children]
    assert len(set(keys)) == len(keys)
    for child in children:
        metadata = child["metadata"]
        assert child["apiVersion"]
        assert DNS_LABEL.fullmatch(metadata["name"])
        assert metadata["namespace"] == service.metadata.namespace
        assert all(LABEL_VALUE.fullmatch(value) for value in metadata["labels"].values())
        assert metadata["labels"][names.LABEL_SERVICE] == service.metadata.name
        owners = [owner["uid"] for owner in metadata.get("ownerReferences", [])]
        assert owners == ([service.metadata.uid] if service.metadata.uid else [])


@given(services())
@settings(max_examples=50)
def test_every_reference_between_objects_finds_what_it_refers_to(service: InferenceService) -> None:
    children = render(service)
    exists = {(child["kind"], child["metadata"]["name"]) for child in children}
    templates = pod_templates(children)
    for template in templates:
        spec = template["spec"]
        [container] = spec["containers"]
        ports = {port["name"] for port in container["ports"]}
        assert ("ServiceAccount", spec["serviceAccountName"]) in exists
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
        for volume in spec["volumes"]:
            assert "configMap" not in volume or ("ConfigMap", volume["configMap"]["name"]) in exists
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["httpGet"]["port"] in ports
    for child in children:
        selector = child.get("spec", {}).get("selector")
        if selector is None:
            continue
        wanted = selector.get("matchLabels", selector)
        chosen = [t for t in templates if wanted.items() <= t["metadata"]["labels"].items()]
        assert len(chosen) == 1, "a selector finds the pods of one component"
        if "template" in child["spec"]:
            assert chosen == [child["spec"]["template"]]
        for port in child["spec"].get("ports", []):
            assert port["targetPort"] in {p["name"] for p in chosen[0]["spec"]["containers"][0]["ports"]}


@given(services())
@settings(max_examples=50)
def test_pods_satisfy_the_restricted_standard_apart_from_the_local_model_folder(service: InferenceService) -> None:
    for template in pod_templates(render(service)):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        [container] = spec["containers"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        volumes = {key for volume in spec["volumes"] if volume["name"] != "model" for key in volume.keys() - {"name"}}
        assert volumes <= {"configMap", "emptyDir"}


def test_a_revision_is_an_immutable_config_map_and_a_replica_set_of_the_same_name() -> None:
    children = of(document(replicas=2))
    replica_set = one(children, "ReplicaSet")
    config_map = one(children, "ConfigMap", names.COMPONENT_ENGINE)
    assert replica_set["metadata"]["name"] == config_map["metadata"]["name"]
    assert config_map["immutable"] is True
    assert replica_set["spec"]["replicas"] == 2


def test_an_old_revision_stays_as_it_was_rendered_whatever_the_new_release_would_render() -> None:
    service = load_inference_service(document())
    old = new_revision(service, Facts(engine_image="engine:0", gateway_image="gateway:0"), 1)
    changed = load_inference_service(document(engine={"maxNumSeqs": 7}))
    children = desired_children(changed, [old, new_revision(changed, FACTS, 1)], FACTS)
    images = [
        child["spec"]["template"]["spec"]["containers"][0]["image"]
        for child in children
        if child["kind"] == "ReplicaSet"
    ]
    assert images == ["engine:0", "engine:1"]


def test_the_engines_file_says_what_the_user_asked_for() -> None:
    engine = {"kvCacheMemory": "1Gi", "maxNumSeqs": 7, "drainTimeout": "90s", "prefixCaching": False}
    config_map = one(of(document(engine=engine)), "ConfigMap", names.COMPONENT_ENGINE)
    config = EngineConfig.model_validate_json(config_map["data"][names.CONFIG_FILE])
    assert (config.kv_cache_bytes, config.max_num_seqs, config.drain_timeout_s) == (2**30, 7, 90)
    assert (config.model_name, config.prefix_caching) == ("smol", False)


@pytest.mark.parametrize(
    ("spec", "device"),
    [
        ({}, "cpu"),
        ({"resources": {"limits": {"nvidia.com/gpu": 1}}}, "cuda"),
        ({"resources": {"limits": {"nvidia.com/mig-1g.10gb": 1}}}, "cuda"),
        ({"resources": {"limits": {"amd.com/gpu": 1}}}, "rocm"),
        ({"resources": {"limits": {"nvidia.com/gpu": 1}}, "engine": {"device": "cpu"}}, "cpu"),
    ],
)
def test_the_device_is_the_one_asked_for_else_the_resources_accelerator(spec: dict[str, Any], device: str) -> None:
    config_map = one(of(document(**spec)), "ConfigMap", names.COMPONENT_ENGINE)
    assert json.loads(config_map["data"][names.CONFIG_FILE])["device"] == device


def test_the_gateway_finds_the_engines_by_the_headless_services_name() -> None:
    children = of(document())
    headless = one(children, "Service", names.COMPONENT_ENGINE)
    config_map = one(children, "ConfigMap", names.COMPONENT_GATEWAY)
    config = GatewayConfig.model_validate_json(config_map["data"][names.CONFIG_FILE])
    assert config.engine_host == f"{headless['metadata']['name']}.team.svc"
    assert headless["spec"]["clusterIP"] == "None"
    assert headless["spec"]["publishNotReadyAddresses"] is False


def test_a_change_of_the_gateways_file_replaces_its_pods_and_a_change_of_replicas_does_not() -> None:
    def template(**gateway: Any) -> KubernetesObject:
        rendered: KubernetesObject = one(of(document(gateway=gateway)), "Deployment")["spec"]["template"]
        return rendered

    assert template(requestTimeout="1m") != template(requestTimeout="2m")
    assert template(replicas=1) == template(replicas=5)


def test_the_gateway_is_replaced_without_a_gap_and_spread_over_nodes() -> None:
    deployment = one(of(document()), "Deployment")["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    [spread] = deployment["template"]["spec"]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"


@pytest.mark.parametrize(("engines", "gateways"), [(0, 1), (1, 1), (1, 2), (2, 1), (3, 3)])
def test_a_disruption_budget_exists_from_two_replicas_on(engines: int, gateways: int) -> None:
    children = of(document(replicas=engines, gateway={"replicas": gateways}))
    budgets = {
        child["metadata"]["labels"][names.LABEL_COMPONENT]
        for child in children
        if child["kind"] == "PodDisruptionBudget"
    }
    wanted = {"engine": engines, "gateway": gateways}
    assert budgets == {component for component, replicas in wanted.items() if replicas > 1}


def test_the_engine_may_take_its_start_up_time_and_its_drain_time() -> None:
    children = of(document(engine={"startupTimeout": "7m", "drainTimeout": "100s"}))
    probe = container_of(children, "ReplicaSet")["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == 420
    assert one(children, "ReplicaSet")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > 100


def test_a_gateway_that_waits_for_an_engine_is_not_restarted_for_it() -> None:
    container = container_of(of(document()), "Deployment")
    assert container["startupProbe"]["httpGet"]["path"] == names.LIVE_PATH
    assert container["readinessProbe"]["httpGet"]["path"] == names.READY_PATH


def test_the_model_is_mounted_read_only_where_the_engine_looks_for_it() -> None:
    children = of(document())
    container = container_of(children, "ReplicaSet")
    [mount] = [mount for mount in container["volumeMounts"] if mount["name"] == "model"]
    assert (mount["mountPath"], mount["readOnly"]) == (names.MODEL_MOUNT, True)
    assert container["args"][:2] == ["--model", names.MODEL_MOUNT]
    volumes = one(children, "ReplicaSet")["spec"]["template"]["spec"]["volumes"]
    assert {"name": "model", "hostPath": {"path": "/models/smol", "type": "Directory"}} in volumes
