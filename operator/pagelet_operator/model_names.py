"""The names of a model and of the objects it needs in a cluster: its Job, its facts, its source, its claim.

A model is named by what would have it fetched again; everything of that name is made once and found again by it.
"""

import json

from pagelet_api import names
from pagelet_api.v1alpha1 import InferenceService

from pagelet_operator.normal_form import normal_form
from pagelet_operator.revision import content_hash

FACTS_FILE = "facts.json"
"""In the ConfigMap that outlives the Job: `pagelet_api.model_report.ModelFacts`."""
ATTEMPT_ANNOTATION = f"{names.GROUP}/attempt"
"""On the Job: the how manyth it is."""
FAILED_ATTEMPTS_ANNOTATION = f"{names.GROUP}/failed-attempts"
"""On the source's ConfigMap: what must be remembered while one Job is deleted and the next not made."""
LAST_FAILURE_ANNOTATION = f"{names.GROUP}/last-failure"
"""On the source's ConfigMap: `pagelet_api.model_report.ModelFailure` of the latest attempt."""


def model_key(service: InferenceService) -> str:
    """Names source, storage and digest. How large a folder may get, or a claim is made, fetches nothing again."""
    model = service.spec.model
    storage = "none"
    if model.storage is not None:
        storage = f"claim {storage_claim(service)}" if model.storage.pvc else "ephemeral"
    fields = {"source": normal_form(model.source), "storage": storage, "digest": model.digest}
    return content_hash(json.dumps(fields, sort_keys=True, separators=(",", ":")))


def job_name(service_name: str, key: str) -> str:
    """Of the model's Job, and of the ConfigMap with its facts; at most 57 characters, as pods' names add to it."""
    return f"{service_name}-model-{key}"


def source_name(service_name: str, key: str) -> str:
    """Of the ConfigMap that says to the Job what to fetch."""
    return f"{job_name(service_name, key)}-source"


def made_claim_name(service_name: str) -> str:
    """Of the claim that is made where the user gives a size."""
    return f"{service_name}-model"


def storage_claim(service: InferenceService) -> str:
    """The claim that fetched models are written to; empty: there is none."""
    storage = service.spec.model.storage
    if storage is None or storage.pvc is None:
        return ""
    return storage.pvc.claim_name or made_claim_name(service.metadata.name)
