"""Which edits make a new revision, and which do not."""

import re
from typing import Any

import pytest
from hypothesis import given
from pagelet_api.v1alpha1 import InferenceService, load_inference_service
from pagelet_operator.revision import HASH_LENGTH, Revision, content_hash, revision_hash

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
        {"resources": {"limits": {"nvidia.com/gpu": 1}}},
        {"restartedAt": "2026-11-23T10:00:00Z"},
    ],
)
def test_a_field_that_needs_a_restart_makes_a_new_revision(service: InferenceService, change: dict[str, Any]) -> None:
    assert revision_hash(edited(service, **change).spec) != revision_hash(service.spec)


def test_a_default_that_is_written_out_makes_no_new_revision(service: InferenceService) -> None:
    explicit = load_inference_service(document(engine={"blockSize": 16, "kvCacheMemory": "4Gi"}, restartedAt=""))
    assert revision_hash(explicit.spec) == revision_hash(service.spec)


def test_the_hash_is_the_same_in_every_release(service: InferenceService) -> None:
    # A release that hashes differently would restart every engine of every cluster on its upgrade.
    assert revision_hash(service.spec) == "hvpcvkxv4v"


@given(services())
def test_a_revision_has_a_name_that_fits_with_a_pods_suffix(service: InferenceService) -> None:
    name = Revision(revision_hash(service.spec), 1, "", {}).name(service.metadata.name)
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
    assert len(name) + len("-x7k2p") <= 63


def test_a_hash_spells_no_word() -> None:
    letters = set("".join(content_hash(str(number)) for number in range(500)))
    assert not letters & set("aeiou013")
    assert len(content_hash("")) == HASH_LENGTH
