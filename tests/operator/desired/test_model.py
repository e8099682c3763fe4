"""How a model gets into a cluster: the Job, its source, its claim, its facts, and the engines' volume."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from pagelet_api import names
from pagelet_api.config import FetcherConfig
from pagelet_api.model_report import FailureReason, ModelFacts, ModelFailure
from pagelet_api.v1alpha1 import InferenceService, load_inference_service
from pagelet_operator.desired import KubernetesObject, desired_children, new_revision
from pagelet_operator.model_state import JobWish, ModelState

from ..conftest import MODEL_FACTS, document, in_cluster
from .conftest import FACTS, container_of, of, one, pod_of, render

PVC = {"source": {"pvc": {"claimName": "models", "path": "chat/v2"}}}
S3 = {
    "source": {
        "s3": {
            "uri": "s3://models/m",
            "endpoint": "https://rgw.example",
            "credentialsSecretRef": {"name": "keys"},
            "caBundleRef": {"configMap": "ca", "key": "root.pem"},
        }
    },
    "storage": {"pvc": {"size": "50Gi", "storageClassName": "cephfs"}},
}
HUB = {
    "source": {"huggingFace": {"repo": "org/m", "tokenSecretRef": {"name": "hub"}}},
    "storage": {"ephemeral": {"sizeLimit": "20Gi"}},
}
DIGEST = f"sha256:{'b' * 64}"


def children_of(model: dict[str, Any], **spec: Any) -> tuple[KubernetesObject, ...]:
    return of(document(model=model, **spec))


def argument(container: KubernetesObject, flag: str) -> str:
    arguments: list[str] = container["args"]
    return arguments[arguments.index(flag) + 1]


def mount(container: KubernetesObject, path: str) -> KubernetesObject:
    [found] = [mount for mount in container["volumeMounts"] if mount["mountPath"] == path]
    return found


def volume(spec: KubernetesObject, container: KubernetesObject, path: str) -> KubernetesObject:
    [found] = [volume for volume in spec["volumes"] if volume["name"] == mount(container, path)["name"]]
    return found


@given(in_cluster())
@settings(max_examples=30)
def test_the_job_reads_a_file_that_the_fetcher_understands(service: InferenceService) -> None:
    children = render(service)
    source = one(children, "ConfigMap", names.COMPONENT_MODEL, "-source")
    config = FetcherConfig.model_validate_json(source["data"]["source.json"])
    given = service.spec.model.source
    assert (config.pvc is None, config.s3 is None) == (given.pvc is None, given.s3 is None)
    job = one(children, "Job")
    container = container_of(children, "Job")
    assert argument(container, "--source") == "/etc/pagelet/source.json"
    assert argument(container, "--report") == names.TERMINATION_LOG
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    limits = container["resources"]["limits"] | container["resources"]["requests"]
    assert limits.keys() <= {"cpu", "memory"}, "no device waits for a download"


def test_a_model_on_a_claim_is_verified_and_served_where_it_lies() -> None:
    children = children_of(PVC | {"digest": DIGEST})
    job = container_of(children, "Job")
    assert argument(job, "--folder") == names.SOURCE_MOUNT
    assert argument(job, "--digest") == DIGEST
    claim = {"claimName": "models", "readOnly": True}
    for kind, container, path in (
        ("Job", job, names.SOURCE_MOUNT),
        ("ReplicaSet", container_of(children, "ReplicaSet"), names.MODEL_MOUNT),
    ):
        assert mount(container, path) | {"name": ""} == {
            "name": "",
            "mountPath": path,
            "readOnly": True,
            "subPath": "chat/v2",
        }
        assert volume(pod_of(children, kind), container, path)["persistentVolumeClaim"] == claim
    assert "--credentials" not in job["args"]


def test_a_fetched_model_is_written_to_the_claim_once_and_read_from_it_by_all() -> None:
    children = children_of(S3)
    claim = one(children, "PersistentVolumeClaim")
    assert claim["spec"] == {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "50Gi"}},
        "storageClassName": "cephfs",
    }
    job, engine = container_of(children, "Job"), container_of(children, "ReplicaSet")
    assert argument(job, "--storage") == names.STORAGE_MOUNT
    written = volume(pod_of(children, "Job"), job, names.STORAGE_MOUNT)
    assert written["persistentVolumeClaim"] == {"claimName": "smol-model"}
    read = volume(pod_of(children, "ReplicaSet"), engine, names.MODEL_MOUNT)
    assert read["persistentVolumeClaim"] == {"claimName": "smol-model", "readOnly": True}
    assert mount(engine, names.MODEL_MOUNT)["subPath"] == MODEL_FACTS.folder
    assert mount(engine, names.MODEL_MOUNT)["readOnly"] is True


def test_a_claim_of_the_users_own_is_used_and_none_made() -> None:
    children = children_of(S3 | {"storage": {"pvc": {"claimName": "shared"}}})
    assert not [child for child in children if child["kind"] == "PersistentVolumeClaim"]
    job = container_of(children, "Job")
    written = volume(pod_of(children, "Job"), job, names.STORAGE_MOUNT)
    assert written["persistentVolumeClaim"] == {"claimName": "shared"}


@pytest.mark.parametrize(("retain", "owners"), [(True, 0), (False, 1)])
def test_a_retained_claim_outlives_the_service(retain: bool, owners: int) -> None:
    fields = document(model=S3 | {"storage": {"pvc": {"size": "5Gi", "retain": retain}}})
    fields["metadata"]["uid"] = "0f-1"
    claim = one(of(fields), "PersistentVolumeClaim")
    assert len(claim["metadata"].get("ownerReferences", ())) == owners


def test_keys_and_certificates_are_files_and_never_variables() -> None:
    children = children_of(S3)
    job = container_of(children, "Job")
    assert argument(job, "--credentials") == names.CREDENTIALS_MOUNT
    secret, bundle = volume(pod_of(children, "Job"), job, names.CREDENTIALS_MOUNT)["projected"]["sources"]
    assert secret["secret"]["name"] == "keys"
    assert [item["path"] for item in secret["secret"]["items"]] == ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
    assert bundle["configMap"]["items"] == [{"key": "root.pem", "path": "ca.crt"}]
    # A pod that waits for a Secret says so in an event alone; the fetcher says it in the report.
    assert secret["secret"]["optional"] is True
    assert {variable["name"] for variable in job["env"]} == {"TMPDIR"}
    engine = pod_of(children, "ReplicaSet")
    assert "keys" not in json.dumps(engine), "engines that fetch nothing see no key"


def test_a_model_that_every_pod_fetches_is_the_commit_that_was_looked_at() -> None:
    children = children_of(HUB)
    assert "--facts-only" in container_of(children, "Job")["args"]
    spec = pod_of(children, "ReplicaSet")
    [fetch] = spec["initContainers"]
    engine = spec["containers"][0]
    assert argument(fetch, "--into") == names.MODEL_MOUNT
    assert argument(fetch, "--digest") == MODEL_FACTS.digest
    assert volume(spec, engine, names.MODEL_MOUNT)["emptyDir"] == {"sizeLimit": "20Gi"}
    assert mount(engine, names.MODEL_MOUNT)["readOnly"] is True
    assert "readOnly" not in mount(fetch, names.MODEL_MOUNT)
    assert fetch["resources"]["requests"]["ephemeral-storage"] == "20Gi"
    assert volume(spec, fetch, names.CREDENTIALS_MOUNT)["projected"]["sources"]
    revision = one(children, "ConfigMap", names.COMPONENT_ENGINE)
    config = FetcherConfig.model_validate_json(revision["data"]["source.json"])
    assert config.hugging_face is not None
    assert config.hugging_face.revision == MODEL_FACTS.revision


def test_facts_become_an_immutable_config_map_and_a_job_that_exists_stays_as_it_was_made() -> None:
    service = load_inference_service(document(model=PVC))
    state = ModelState(facts=MODEL_FACTS, job=JobWish.KEEP)
    children = desired_children(service, [new_revision(service, FACTS, 1)], FACTS, model=state)
    assert not [child for child in children if child["kind"] == "Job"]
    [facts] = [child for child in children if "facts.json" in child.get("data", {})]
    assert facts["immutable"] is True
    assert ModelFacts.model_validate_json(facts["data"]["facts.json"]) == MODEL_FACTS


def test_how_attempts_went_is_kept_where_deleting_the_job_does_not_lose_it() -> None:
    service = load_inference_service(document(model=PVC))
    failure = ModelFailure(reason=FailureReason.SOURCE_NOT_FOUND, message="no folder")
    children = desired_children(service, [], FACTS, model=ModelState(failure=failure, attempt=3))
    annotations = one(children, "ConfigMap", ending="-source")["metadata"]["annotations"]
    assert annotations["pagelet.io/failed-attempts"] == "2"
    assert ModelFailure.model_validate_json(annotations["pagelet.io/last-failure"]) == failure
    first = desired_children(service, [], FACTS, model=ModelState(job=JobWish.MAKE))
    assert "annotations" not in one(first, "ConfigMap", ending="-source")["metadata"]


def test_a_drained_node_costs_no_attempt() -> None:
    spec = one(children_of(PVC), "Job")["spec"]
    assert spec["backoffLimit"] == 0
    [rule] = spec["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
