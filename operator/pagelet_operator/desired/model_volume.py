"""How a model gets into a pod: the volume that holds it, and the container that fetches it.

The fetcher's command line is a contract with `pagelet_engine.fetcher`. Keys and tokens are files, never variables: the
environment of a process is shown in too many places.
"""

from typing import Any

from pagelet_api import names
from pagelet_api.config import FetcherConfig, HuggingFaceFetchConfig, PvcFetchConfig, S3FetchConfig
from pagelet_api.v1alpha1 import InferenceService, ModelSource

from pagelet_operator.desired.facts import Facts
from pagelet_operator.desired.metadata import KubernetesObject
from pagelet_operator.desired.pods import config_mount, container
from pagelet_operator.model_names import storage_claim
from pagelet_operator.revision import SOURCE_FILE

# Read by the group that the pod's files belong to.
_CREDENTIALS_MODE = 0o440
_S3_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def fetcher_config(source: ModelSource, commit: str = "") -> FetcherConfig:
    """The source without its references. `commit`: what a branch was when its facts were read; every pod gets that."""
    if s3 := source.s3:
        return FetcherConfig(
            s3=S3FetchConfig(
                uri=s3.uri,
                endpoint=s3.endpoint,
                region=s3.region,
                path_style=s3.path_style,
                signed=s3.credentials_secret_ref is not None,
                has_ca_bundle=s3.ca_bundle_ref is not None,
            )
        )
    if hub := source.hugging_face:
        return FetcherConfig(
            hugging_face=HuggingFaceFetchConfig(
                repo=hub.repo,
                revision=commit or hub.revision,
                endpoint=hub.endpoint,
                has_token=hub.token_secret_ref is not None,
            )
        )
    assert source.pvc is not None, "a path is not fetched"
    return FetcherConfig(pvc=PvcFetchConfig())


def fetching_container(
    service: InferenceService, facts: Facts, where: list[str], mounts: list[KubernetesObject], digest: str
) -> KubernetesObject:
    """Fetches, or verifies, what `source.json` says; `where` are the arguments that say where to."""
    credentials = credentials_volume(service.spec.model.source)
    resources: dict[str, Any] = {"limits": {"memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "256Mi"}}
    return container(
        "fetch",
        facts.model_image,
        ["python", "-m", "pagelet_engine.fetcher"],
        [
            *("--source", f"{names.CONFIG_MOUNT}/{SOURCE_FILE}"),
            *where,
            *(("--digest", digest) if digest else ()),
            *(("--credentials", names.CREDENTIALS_MOUNT) if credentials else ()),
            *("--report", names.TERMINATION_LOG),
        ],
        [
            config_mount(),
            *([folder_mount("credentials", names.CREDENTIALS_MOUNT, read_only=True)] if credentials else ()),
            *mounts,
        ],
        resources,
    )


def credentials_volume(source: ModelSource) -> KubernetesObject | None:
    """Keys of Secrets and ConfigMaps as files. A key that is missing is left out, so that the fetcher starts and says
    in words what the kubelet would say in an event that nobody reads."""
    projected = []
    if source.s3 and (secret := source.s3.credentials_secret_ref):
        projected.append(_projection("secret", secret.name, {key: key for key in _S3_KEYS}))
    if source.s3 and (bundle := source.s3.ca_bundle_ref):
        kind, name = ("configMap", bundle.config_map) if bundle.config_map else ("secret", bundle.secret)
        projected.append(_projection(kind, name or "", {bundle.key: "ca.crt"}))
    if source.hugging_face and (token := source.hugging_face.token_secret_ref):
        projected.append(_projection("secret", token.name, {token.key: "token"}))
    if not projected:
        return None
    return {"name": "credentials", "projected": {"defaultMode": _CREDENTIALS_MODE, "sources": projected}}


def engine_model_volume(service: InferenceService, facts: Facts) -> tuple[KubernetesObject, KubernetesObject]:
    """The volume with the model, and its mount in the engine's container: read-only, whatever holds it."""
    model = service.spec.model
    folder = ""
    if model.source.path is not None:
        volume: KubernetesObject = {"name": "model", "hostPath": {"path": model.source.path, "type": "Directory"}}
    elif model.source.pvc:
        volume, folder = claim_volume("model", model.source.pvc.claim_name, read_only=True), model.source.pvc.path
    elif model.storage and model.storage.ephemeral:
        volume = {"name": "model", "emptyDir": {"sizeLimit": str(model.storage.ephemeral.size_limit)}}
    else:
        assert facts.model is not None, "no engine pod is rendered before its model is known"
        volume, folder = claim_volume("model", storage_claim(service), read_only=True), facts.model.folder
    return volume, folder_mount("model", names.MODEL_MOUNT, folder, read_only=True)


def engine_fetch(service: InferenceService, facts: Facts) -> KubernetesObject | None:
    """The init container that fetches into the pod's own folder; None where the model is in a volume already."""
    storage = service.spec.model.storage
    if storage is None or storage.ephemeral is None:
        return None
    digest = service.spec.model.digest or (facts.model.digest if facts.model else "")
    mounts = [folder_mount("model", names.MODEL_MOUNT)]
    fetch = fetching_container(service, facts, ["--into", names.MODEL_MOUNT], mounts, digest)
    requests = {**fetch["resources"]["requests"], "ephemeral-storage": str(storage.ephemeral.size_limit)}
    return {**fetch, "resources": {**fetch["resources"], "requests": requests}}


def claim_volume(name: str, claim: str, *, read_only: bool = False) -> KubernetesObject:
    source: KubernetesObject = {"claimName": claim, **({"readOnly": True} if read_only else {})}
    return {"name": name, "persistentVolumeClaim": source}


def folder_mount(volume: str, path: str, folder: str = "", *, read_only: bool = False) -> KubernetesObject:
    """`folder` of the volume at `path`; empty: its root."""
    mount: KubernetesObject = {"name": volume, "mountPath": path}
    return {**mount, **({"readOnly": True} if read_only else {}), **({"subPath": folder} if folder else {})}


def _projection(kind: str, name: str, files: dict[str, str]) -> KubernetesObject:
    items = [{"key": key, "path": path} for key, path in files.items()]
    return {kind: {"name": name, "items": items, "optional": True}}
