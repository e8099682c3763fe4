"""What a model needs in a cluster: what to fetch, a claim to keep it in, the Job that does it, and what it found.

The Job asks for no device, so that no GPU waits for a download.
"""

from pagelet_api import names
from pagelet_api.v1alpha1 import InferenceService

from pagelet_operator.desired.facts import Facts
from pagelet_operator.desired.metadata import FETCHES_LABEL, NOT_EVICTED, KubernetesObject, labels, metadata
from pagelet_operator.desired.model_volume import (
    claim_volume,
    credentials_volume,
    fetcher_config,
    fetching_container,
    folder_mount,
)
from pagelet_operator.desired.pods import config_map, config_volume, pod_template
from pagelet_operator.model_names import (
    ATTEMPT_ANNOTATION,
    FACTS_FILE,
    FAILED_ATTEMPTS_ANNOTATION,
    LAST_FAILURE_ANNOTATION,
    job_name,
    made_claim_name,
    model_key,
    source_name,
    storage_claim,
)
from pagelet_operator.model_state import JobWish, ModelState
from pagelet_operator.revision import SOURCE_FILE

_GRACE_S = 30


def model_children(service: InferenceService, facts: Facts, state: ModelState) -> list[KubernetesObject]:
    """All but a Job that exists: it stays as it was made."""
    if service.spec.model.source.path is not None:
        return []
    children = [*_claim(service), _source(service, state)]
    if state.job is JobWish.MAKE:
        children.append(_job(service, facts, state.attempt))
    if state.facts is not None:
        found = metadata(service, job_name(service.metadata.name, model_key(service)), names.COMPONENT_MODEL)
        text = state.facts.model_dump_json(by_alias=True, indent=2) + "\n"
        children.append(config_map(found, {FACTS_FILE: text}, immutable=True))
    return children


def _claim(service: InferenceService) -> list[KubernetesObject]:
    """The claim, where the user gives a size and not a name."""
    storage = service.spec.model.storage
    if storage is None or storage.pvc is None or storage.pvc.size is None:
        return []
    name, storage_class = made_claim_name(service.metadata.name), storage.pvc.storage_class_name
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": metadata(service, name, names.COMPONENT_MODEL, outlives=storage.pvc.retain),
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "resources": {"requests": {"storage": str(storage.pvc.size)}},
                **({"storageClassName": storage_class} if storage_class else {}),
            },
        }
    ]


def _source(service: InferenceService, state: ModelState) -> KubernetesObject:
    """What the Job fetches; and, for whoever comes after this operator, how its attempts went."""
    annotations = {}
    if state.attempt > 1:
        annotations[FAILED_ATTEMPTS_ANNOTATION] = str(state.attempt - 1)
    if state.failure is not None:
        annotations[LAST_FAILURE_ANNOTATION] = state.failure.model_dump_json(by_alias=True)
    name = source_name(service.metadata.name, model_key(service))
    return config_map(
        metadata(service, name, names.COMPONENT_MODEL, annotations=annotations),
        {SOURCE_FILE: fetcher_config(service.spec.model.source).to_json()},
        immutable=True,
    )


def _job(service: InferenceService, facts: Facts, attempt: int) -> KubernetesObject:
    key, source = model_key(service), service.spec.model.source
    name = job_name(service.metadata.name, key)
    volumes = [config_volume(source_name(service.metadata.name, key), SOURCE_FILE)]
    if credentials := credentials_volume(source):
        volumes.append(credentials)
    where, mounts = ["--facts-only"], []
    if source.pvc:
        where = ["--folder", names.SOURCE_MOUNT]
        volumes.append(claim_volume("source", source.pvc.claim_name, read_only=True))
        mounts.append(folder_mount("source", names.SOURCE_MOUNT, source.pvc.path, read_only=True))
    elif claim := storage_claim(service):
        where = ["--storage", names.STORAGE_MOUNT]
        volumes.append(claim_volume("storage", claim))
        mounts.append(folder_mount("storage", names.STORAGE_MOUNT))
    pod_labels = labels(service, names.COMPONENT_MODEL)
    if source.is_fetched:
        pod_labels[FETCHES_LABEL] = "true"
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(service, name, names.COMPONENT_MODEL, annotations={ATTEMPT_ANNOTATION: str(attempt)}),
        "spec": {
            # One attempt a Job: when to try again depends on why it failed, and so is `model_state`'s decision.
            "backoffLimit": 0,
            "podFailurePolicy": {
                # A node that is drained is nobody's fault.
                "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
            },
            "template": pod_template(
                service,
                pod_labels,
                NOT_EVICTED,
                [fetching_container(service, facts, where, mounts, service.spec.model.digest)],
                volumes,
                grace_s=_GRACE_S,
                restartPolicy="Never",
            ),
        },
    }
