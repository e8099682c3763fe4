"""Which edits make a new revision, and which do not."""

import re
from typing import Any

import pytest
from hypothesis import given
from pagelet_api.v1alpha1 import InferenceService, load_inference_service
from pagelet_operator.revision import HASH_LENGTH, Revision, RevisionError, content_hash, revision_hash

from .conftest import document, services


def edited(service: InferenceService, **spec: Any) -> InferenceService:
    """The same service after its user changed these fields of `spec`."""
    fields = service.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    fields["spec"] |= spec
    return load_inference_service(fields)


@given(services())
def test_replicas_gateway_and_suspension_keep_the_revision(service: InferenceService) -> None:
    changed = edited(service, replicas=7, gateway={"replicas": 3, "requestTimeout": "11m"}, suspend=True)
    assert revision_hash(changed.spec) == revision_hash(service.spec)


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"source": {"path": "/models/other"}}},
        {"model": {"source": {"path": "/models/smol"}, "name": "other"}},
        {"model": {"source": {"path": "/models/smol"}, "digest": f"sha256:{'0' * 64}"}},
        {"engine": {"maxNumSeqs": 7}},
        {"engine": {"drainTimeout": "7s"}},
        {"engine": {"quantization": "int4"}},
        {"engine": {"kvCacheDtype": "fp8", "device": "cuda"}},
        {"resources": {"limits": {"nvidia.com/gpu": 1}}},
        {"restartedAt": "2026-11-23T10:00:00Z"},
    ],
)
def test_a_field_that_needs_a_restart_makes_a_new_revision(service: InferenceService, change: dict[str, Any]) -> None:
    assert revision_hash(edited(service, **change).spec) != revision_hash(service.spec)


def test_a_default_that_is_written_out_makes_no_new_revision(service: InferenceService) -> None:
    explicit = load_inference_service(
        document(
            engine={"blockSize": 16, "kvCacheMemory": "4Gi", "quantization": "none", "kvCacheDtype": "auto"},
            restartedAt="",
        )
    )
    assert revision_hash(explicit.spec) == revision_hash(service.spec)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"engine": {"kvCacheMemory": "8Gi"}}, {"engine": {"kvCacheMemory": "8192Mi"}}),
        ({"engine": {"kvCacheMemory": "4096Mi"}}, {}),
        ({"engine": {"drainTimeout": "90s"}}, {"engine": {"drainTimeout": "1m30s"}}),
        ({"engine": {"drainTimeout": "120s"}}, {}),
        ({"resources": {"limits": {"nvidia.com/gpu": 1}}}, {"resources": {"limits": {"nvidia.com/gpu": "1"}}}),
        ({"resources": {"limits": {"cpu": "500m"}}}, {"resources": {"limits": {"cpu": "0.5"}}}),
        ({"resources": {"requests": {"memory": "1.5Gi"}}}, {"resources": {"requests": {"memory": "1536Mi"}}}),
        ({"accelerator": {"memory": "40Gi"}}, {"accelerator": {"memory": "40960Mi"}}),
        (
            {"podTemplate": {"nodeSelector": {"a": "1", "b": "2"}}},
            {"podTemplate": {"nodeSelector": {"b": "2", "a": "1"}}},
        ),
    ],
)
def test_another_spelling_of_the_same_values_makes_no_new_revision(one: dict[str, Any], other: dict[str, Any]) -> None:
    hashes = {revision_hash(load_inference_service(document(**spec)).spec) for spec in (one, other)}
    assert len(hashes) == 1


def test_how_a_claim_is_made_is_no_business_of_the_engines() -> None:
    def stored(**claim: Any) -> str:
        model = {"source": {"huggingFace": {"repo": "org/m"}}, "storage": {"pvc": claim}}
        return revision_hash(load_inference_service(document(model=model)).spec)

    assert stored(size="50Gi") == stored(size="80Gi", storageClassName="cephfs", retain=False)
    assert stored(size="50Gi") != stored(claimName="models")


def test_a_revision_is_read_back_from_its_config_map_as_it_was() -> None:
    template = {"metadata": {"annotations": {"pagelet.io/model": "k"}}, "spec": {"containers": [{"name": "engine"}]}}
    revision = Revision("h", 2, "{}", template, source="{ }", surge_refused=True)
    assert Revision.read("h", revision.data, replicas=2, surge_refused=True) == revision
    assert revision.model_key == "k"


@pytest.mark.parametrize("data", [{}, {"config.json": "{}"}, {"config.json": "{}", "pod-template.json": "{"}])
def test_data_that_is_no_revision_says_so(data: dict[str, str]) -> None:
    with pytest.raises(RevisionError, match=r"revision h: .*(pod-template|config)\.json"):
        Revision.read("h", data)


def test_the_hash_is_the_same_in_every_release(service: InferenceService) -> None:
    # A release that hashes differently would restart every engine of every cluster on its upgrade.
    assert revision_hash(service.spec) == "hvpcvkxv4v"
    model = {"source": {"huggingFace": {"repo": "org/m"}}, "storage": {"ephemeral": {"sizeLimit": "5Gi"}}}
    full = document(
        model=model,
        engine={"drainTimeout": "90s", "kvCacheMemory": "8Gi", "device": "cuda"},
        resources={"limits": {"cpu": "500m", "nvidia.com/gpu": 1, "memory": "8Gi"}},
        accelerator={"product": "NVIDIA-L4", "memory": "24G"},
        podTemplate={"env": [{"name": "A", "value": "1"}], "nodeSelector": {"pool": "gpu"}},
        restartedAt="today",
    )
    assert revision_hash(load_inference_service(full).spec) == "d2ctf6kc27"


@given(services())
def test_a_revision_has_a_name_that_fits_with_a_pods_suffix(service: InferenceService) -> None:
    name = Revision(revision_hash(service.spec), 1, "", {}).name(service.metadata.name)
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
    assert len(name) + len("-x7k2p") <= 63


def test_a_hash_spells_no_word() -> None:
    letters = set("".join(content_hash(str(number)) for number in range(500)))
    assert not letters & set("aeiou013")
    assert len(content_hash("")) == HASH_LENGTH
