"""The rendered objects: the same bytes for the same input, and nothing an API server or a kubelet would refuse."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from pagelet_api import names
from pagelet_api.config import EngineConfig, GatewayConfig
from pagelet_api.gateway_memory import GATEWAY_MEMORY_BYTES
from pagelet_api.v1alpha1 import InferenceService, load_inference_service
from pagelet_operator.desired import Facts, KubernetesObject, desired_children, new_revision
from pagelet_operator.desired.engine_revision import engine_config
from pagelet_operator.revision import Revision

from ..conftest import MODEL_FACTS, document, in_cluster, services
from .conftest import FACTS, UNKNOWN, container_of, of, one, pod_templates, render

DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
DNS_SUBDOMAIN = re.compile(r"[a-z]([-a-z0-9.]{0,251}[a-z0-9])?")
LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
some = settings(max_examples=30)


@given(services())
@some
def test_the_same_input_gives_the_same_bytes(service: InferenceService) -> None:
    again = load_inference_service(json.loads(service.model_dump_json(by_alias=True, exclude_defaults=True)))
    assert json.dumps(render(service)) == json.dumps(render(again))


@given(services())
@some
def test_no_engine_is_asked_for_a_format_that_its_device_lacks(service: InferenceService) -> None:
    config = engine_config(service, FACTS)
    assert config.quantization == service.spec.engine.quantization
    formats = ("none", "int8", "int4") if config.device == "cpu" else ("none", "fp8")
    assert config.quantization in formats
    assert config.kv_cache_dtype == "auto" or config.device != "cpu"


@given(services())
@some
def test_every_object_is_complete_uniquely_named_and_owned(service: InferenceService) -> None:
    children = render(service)
    keys = [(child["kind"], child["metadata"]["name"]) for child in children]
    assert len(set(keys)) == len(keys)
    for child in children:
        metadata = child["metadata"]
        assert child["apiVersion"]
        # Pods and Services are named by labels of DNS; a ConfigMap's name may be longer.
        name = DNS_SUBDOMAIN if child["kind"] in ("ConfigMap", "NetworkPolicy") else DNS_LABEL
        assert name.fullmatch(metadata["name"])
        assert metadata["namespace"] == service.metadata.namespace
        assert all(LABEL_VALUE.fullmatch(value) for value in metadata["labels"].values())
        assert metadata["labels"][names.LABEL_SERVICE] == service.metadata.name
        owners = [owner["uid"] for owner in metadata.get("ownerReferences", [])]
        storage = service.spec.model.storage
        outlives = child["kind"] == "PersistentVolumeClaim" and storage and storage.pvc and storage.pvc.retain
        assert owners == ([service.metadata.uid] if service.metadata.uid and not outlives else [])


@given(services())
@some
def test_every_reference_between_objects_finds_what_it_refers_to(service: InferenceService) -> None:
    children = render(service)
    data = {child["metadata"]["name"]: child["data"] for child in children if child["kind"] == "ConfigMap"}
    exists = {(child["kind"], child["metadata"]["name"]) for child in children}
    templates = pod_templates(children)
    for template in templates:
        spec = template["spec"]
        volumes = {volume["name"] for volume in spec["volumes"]}
        assert ("ServiceAccount", spec["serviceAccountName"]) in exists
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            assert {mount["name"] for mount in container.get("volumeMounts", ())} <= volumes
            assert len({mount["mountPath"] for mount in container.get("volumeMounts", ())}) == len(
                container.get("volumeMounts", ())
            )
            ports = {port["name"] for port in container.get("ports", ())}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                assert probe not in container or container[probe]["httpGet"]["port"] in ports
        for volume in spec["volumes"]:
            for item in volume.get("configMap", {}).get("items", ()):
                assert item["key"] in data[volume["configMap"]["name"]]
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


@given(in_cluster())
@some
def test_while_the_model_is_not_known_all_but_the_new_revision_exists(service: InferenceService) -> None:
    before = desired_children(service, [], FACTS, model=UNKNOWN)
    names_before = {(child["kind"], child["metadata"]["name"]) for child in before}
    after = {(child["kind"], child["metadata"]["name"]) for child in render(service)}
    assert names_before <= after
    assert {kind for kind, _ in after - names_before} <= {"ReplicaSet", "ConfigMap", "PodDisruptionBudget"}
    assert {"Deployment", "Service", "Job", "NetworkPolicy"} <= {kind for kind, _ in names_before}


@given(services())
@some
def test_a_revision_that_is_read_back_gives_the_same_objects(service: InferenceService) -> None:
    revision = new_revision(service, FACTS, 2)
    again = Revision.read(revision.hash, revision.data, replicas=2)
    assert desired_children(service, [again], FACTS) == desired_children(service, [revision], FACTS)


def test_a_revision_is_an_immutable_config_map_and_a_replica_set_of_the_same_name() -> None:
    children = of(document(replicas=2))
    replica_set = one(children, "ReplicaSet")
    config_map = one(children, "ConfigMap", names.COMPONENT_ENGINE)
    assert replica_set["metadata"]["name"] == config_map["metadata"]["name"]
    assert config_map["immutable"] is True
    assert replica_set["spec"]["replicas"] == 2
    assert json.loads(config_map["data"]["pod-template.json"]) == replica_set["spec"]["template"]


def test_a_refused_surge_is_remembered_on_the_replica_set_and_nowhere_else() -> None:
    service = load_inference_service(document())
    revision = new_revision(service, FACTS, 1)
    plain = desired_children(service, [revision], FACTS)
    refused = desired_children(service, [replace(revision, surge_refused=True)], FACTS)
    [(before, after)] = [pair for pair in zip(plain, refused, strict=True) if pair[0] != pair[1]]
    assert after["metadata"].pop("annotations") == {"pagelet.io/surge-refused": "true"}
    assert before == after


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
    engine |= {"quantization": "int8"}
    config_map = one(of(document(engine=engine)), "ConfigMap", names.COMPONENT_ENGINE)
    config = EngineConfig.model_validate_json(config_map["data"][names.CONFIG_FILE])
    assert (config.kv_cache_bytes, config.max_num_seqs, config.drain_timeout_s) == (2**30, 7, 90)
    assert (config.model_name, config.prefix_caching, config.quantization) == ("smol", False, "int8")


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


def test_a_gateways_memory_is_limited_to_what_it_keeps_itself_to_unless_the_file_names_its_own() -> None:
    def resources(**named: dict[str, str]) -> KubernetesObject:
        deployment = one(of(document(gateway={"resources": named})), "Deployment")
        rendered: KubernetesObject = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]
        return rendered

    limit = f"{GATEWAY_MEMORY_BYTES >> 20}Mi"
    assert resources() == {"limits": {"memory": limit}, "requests": {"memory": "512Mi"}}
    assert resources(requests={"cpu": "1"}) == {
        "limits": {"memory": limit},
        "requests": {"cpu": "1", "memory": "512Mi"},
    }
    assert resources(limits={"memory": "4Gi"}) == {"limits": {"memory": "4Gi"}}
    assert resources(requests={"memory": "4Gi"}) == {"requests": {"memory": "4Gi"}}


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


def test_a_gateway_is_out_of_every_nodes_tables_before_it_stops_listening() -> None:
    children = of(document(engine={"drainTimeout": "100s"}))
    seconds = container_of(children, "Deployment")["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace = one(children, "Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert seconds >= 3
    assert grace > 100 + seconds


def test_no_engine_is_taken_away_to_save_a_node_and_its_last_words_are_kept() -> None:
    children = of(document())
    annotations = one(children, "ReplicaSet")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    assert container_of(children, "ReplicaSet")["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_pull_secrets_are_for_the_pods_of_every_component() -> None:
    secrets = [{"name": "registry"}]
    model = {"source": {"pvc": {"claimName": "models"}}}
    children = of(document(model=model, podTemplate={"imagePullSecrets": secrets}))
    templates = pod_templates(children)
    assert len(templates) == 3
    assert all(template["spec"]["imagePullSecrets"] == secrets for template in templates)


def test_the_engine_must_find_the_model_that_was_verified() -> None:
    model = {"source": {"pvc": {"claimName": "models"}}}
    config_map = one(of(document(model=model)), "ConfigMap", names.COMPONENT_ENGINE)
    config = EngineConfig.model_validate_json(config_map["data"][names.CONFIG_FILE])
    assert config.digest == MODEL_FACTS.digest


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
