"""The samples become what their comments promise."""

from pathlib import Path

import pytest
import yaml
from pagelet_api import names
from pagelet_api.memory_plan import plan_gpu
from pagelet_api.sizes import ModelShape
from pagelet_api.v1alpha1 import InferenceService
from pagelet_operator.acceptance import refusal
from pagelet_operator.manifest import read_all

from .conftest import container_of, one, pod_of, pod_templates, render
from .pod_security import violations

SAMPLES = Path(__file__).resolve().parents[3] / "manifests" / "samples"
MISTRAL_7B = ModelShape(
    "MistralForCausalLM", 4096, 32, 32, 8, 128, 14336, 32768, 32768, (None,) * 32, checkpoint_dtype="bfloat16"
)


def sample(name: str) -> InferenceService:
    [service] = read_all(SAMPLES / f"{name}.yaml")
    return service


IN_CLUSTER = sorted(path.stem for path in SAMPLES.glob("*.yaml") if path.stem != "smollm2-local")


def test_there_is_a_sample_of_everything() -> None:
    assert {"one-gpu", "two-gpus", "mig", "pvc", "s3", "smollm2-cluster-pvc", "mistral-7b-support"} == set(IN_CLUSTER)


@pytest.mark.parametrize("name", IN_CLUSTER)
def test_every_sample_becomes_pods_that_a_restricted_namespace_takes(name: str) -> None:
    service = sample(name)
    assert refusal(service, None) is None
    children = render(service)
    assert len(pod_templates(children)) == 3
    for template in pod_templates(children):
        assert violations(template) == []
    policies = [child for child in children if child["kind"] == "NetworkPolicy"]
    assert len(policies) == (5 if service.spec.model.source.is_fetched else 4)


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_sample_begins_with_what_to_do(path: Path) -> None:
    header = path.read_text().split("apiVersion:")[0].splitlines()
    assert all(line.startswith("#") for line in header)
    assert any("kubectl apply -f" in line or "pagelet up" in line for line in header)


def test_two_gpus_have_shared_memory_and_one_pod() -> None:
    spec = pod_of(render(sample("two-gpus")), "ReplicaSet")
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}} in spec["volumes"]
    assert spec["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "2", "memory": "65Gi"}


def test_a_slice_is_asked_for_by_its_name() -> None:
    assert "nvidia.com/mig-1g.10gb" in container_of(render(sample("mig")), "ReplicaSet")["resources"]["limits"]


def test_the_support_bot_runs_on_an_a100_behind_two_gateways_and_fits() -> None:
    service = sample("mistral-7b-support")
    children = render(service)
    assert one(children, "Deployment")["spec"]["replicas"] == 2
    [policy] = [c for c in children if c["kind"] == "PodDisruptionBudget"]
    assert policy["metadata"]["labels"][names.LABEL_COMPONENT] == "gateway"
    claim = one(children, "PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    engine = service.spec.engine
    plan = plan_gpu(
        MISTRAL_7B,
        memory_bytes=40960 * 2**20,
        utilization_percent=engine.gpu_memory_utilization_percent,
        max_model_len=engine.max_model_len,
        max_num_seqs=engine.max_num_seqs,
    )
    assert plan.kv_bytes_per_token == 128 * 1024
    assert round(plan.weight_bytes / 1e9, 1) == 14.5
    assert plan.tokens // 1000 == 173
    assert (plan.sessions(4096), plan.sessions(engine.max_model_len)) == (42, 10)


def test_rendered_samples_survive_yaml() -> None:
    children = render(sample("s3"))
    assert list(yaml.safe_load_all(yaml.safe_dump_all(children))) == list(children)
