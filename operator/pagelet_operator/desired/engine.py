"""The engine's objects: for each revision an immutable ConfigMap and a ReplicaSet; one headless Service for all."""

from collections.abc import Sequence

from pagelet_api import names
from pagelet_api.config import Device, EngineConfig
from pagelet_api.v1alpha1 import InferenceService, InferenceServiceSpec

from pagelet_operator.desired.facts import Facts
from pagelet_operator.desired.metadata import KubernetesObject, engine_service_name, labels, metadata, selector
from pagelet_operator.desired.pods import (
    config_map,
    config_mount,
    config_volume,
    container,
    disruption_budget,
    pod_template,
)
from pagelet_operator.revision import Revision, revision_hash

_DEVICE_OF_RESOURCE = {"nvidia.com/": Device.CUDA, "amd.com/": Device.ROCM}


def new_revision(service: InferenceService, facts: Facts, replicas: int) -> Revision:
    """Render the revision that `service` asks for now."""
    digest = revision_hash(service.spec)
    config = engine_config(service)
    return Revision(digest, replicas, config.to_json(), _pod_template(service, digest, config, facts))


def engine_config(service: InferenceService) -> EngineConfig:
    """What the engine's containers are started with."""
    model, engine = service.spec.model, service.spec.engine
    return EngineConfig(
        model_name=service.served_name,
        aliases=model.aliases,
        digest=model.digest,
        device=resolve_device(service.spec),
        dtype=engine.dtype,
        max_model_len=engine.max_model_len,
        block_size=engine.block_size,
        kv_cache_bytes=engine.kv_cache_memory.num_bytes,
        prefix_caching=engine.prefix_caching,
        max_num_seqs=engine.max_num_seqs,
        max_num_batched_tokens=engine.max_num_batched_tokens,
        max_queued_requests=engine.max_queued_requests,
        drain_timeout_s=engine.drain_timeout.seconds,
    )


def resolve_device(spec: InferenceServiceSpec) -> Device:
    """`auto` is the accelerator that the pod's resources ask for, else the CPU: never what the node happens to have."""
    if spec.engine.device is not Device.AUTO:
        return spec.engine.device
    asked_for = {**spec.resources.limits, **spec.resources.requests}
    for prefix, device in _DEVICE_OF_RESOURCE.items():
        if any(resource.startswith(prefix) for resource in asked_for):
            return device
    return Device.CPU


def engine_children(service: InferenceService, revisions: Sequence[Revision]) -> list[KubernetesObject]:
    """The objects of all revisions, and those that belong to the engines whatever their revision."""
    component = names.COMPONENT_ENGINE
    children = [child for revision in revisions for child in _revision_children(service, revision)]
    children.append(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata(service, engine_service_name(service), component),
            "spec": {
                "clusterIP": "None",
                "publishNotReadyAddresses": False,
                "selector": selector(service, component),
                "ports": [{"name": "grpc", "port": names.ENGINE_GRPC_PORT, "targetPort": "grpc", "protocol": "TCP"}],
            },
        }
    )
    if sum(revision.replicas for revision in revisions) > 1:
        budget = metadata(service, engine_service_name(service), component)
        children.append(disruption_budget(budget, selector(service, component)))
    return children


def _revision_children(service: InferenceService, revision: Revision) -> list[KubernetesObject]:
    component, name = names.COMPONENT_ENGINE, revision.name(service.metadata.name)
    replica_set = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": metadata(service, name, component, revision.hash),
        "spec": {
            "replicas": revision.replicas,
            "selector": {"matchLabels": selector(service, component, revision.hash)},
            "template": dict(revision.pod_template),
        },
    }
    config = config_map(metadata(service, name, component, revision.hash), revision.config, immutable=True)
    return [config, replica_set]


def _pod_template(service: InferenceService, digest: str, config: EngineConfig, facts: Facts) -> KubernetesObject:
    spec = service.spec
    return pod_template(
        labels(service, names.COMPONENT_ENGINE, digest),
        {},
        container(
            "engine",
            spec.engine.image or facts.engine_image,
            ["python", "-m", "pagelet_engine.server"],
            [
                *("--model", names.MODEL_MOUNT),
                *("--config", f"{names.CONFIG_MOUNT}/{names.CONFIG_FILE}"),
                *("--grpc-port", str(names.ENGINE_GRPC_PORT)),
                *("--ops-port", str(names.ENGINE_OPS_PORT)),
            ],
            {"grpc": names.ENGINE_GRPC_PORT, "ops": names.ENGINE_OPS_PORT},
            [{"name": "model", "mountPath": names.MODEL_MOUNT, "readOnly": True}, config_mount()],
            spec.resources,
            # Started means ready here: loading a model is what takes the time.
            startup_path=names.READY_PATH,
            startup_timeout_s=spec.engine.startup_timeout.seconds,
        ),
        [
            {"name": "model", "hostPath": {"path": spec.model.source.path, "type": "Directory"}},
            config_volume(f"{service.metadata.name}-{digest}"),
        ],
        service_account=service.metadata.name,
        drain_timeout_s=config.drain_timeout_s,
    )
