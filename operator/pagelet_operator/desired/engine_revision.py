"""A revision rendered from the spec of today: the engine's configuration, and the pod that runs it."""

from pagelet_api import names
from pagelet_api.config import Device, EngineConfig
from pagelet_api.v1alpha1 import InferenceService, InferenceServiceSpec

from pagelet_operator.desired.additions import ENGINE_CONTAINER, with_additions
from pagelet_operator.desired.facts import Facts
from pagelet_operator.desired.metadata import FETCHES_LABEL, NOT_EVICTED, KubernetesObject, labels
from pagelet_operator.desired.model_volume import (
    credentials_volume,
    engine_fetch,
    engine_model_volume,
    fetcher_config,
)
from pagelet_operator.desired.placement import SHM_MOUNT, affinity, engine_resources, shm_volume, tolerations
from pagelet_operator.desired.pods import (
    GRACE_MARGIN_S,
    config_mount,
    config_volume,
    container,
    pod_template,
    serving,
)
from pagelet_operator.model_names import model_key
from pagelet_operator.revision import MODEL_ANNOTATION, SOURCE_FILE, Revision, revision_hash

_DEVICE_OF_RESOURCE = {"nvidia.com/": Device.CUDA, "amd.com/": Device.ROCM}


def new_revision(service: InferenceService, facts: Facts, replicas: int) -> Revision:
    """Render the revision that `service` asks for now. `facts` hold the model's, where it is not in a claim already."""
    digest = revision_hash(service.spec)
    config = engine_config(service, facts)
    fetch = engine_fetch(service, facts)
    source = ""
    if fetch is not None:
        commit = facts.model.revision if facts.model else ""
        source = fetcher_config(service.spec.model.source, commit).to_json()
    template = with_additions(_pod_template(service, digest, facts, fetch), service.spec.pod_template)
    return Revision(digest, replicas, config.to_json(), template, source)


def engine_config(service: InferenceService, facts: Facts) -> EngineConfig:
    """What the engine's containers are started with. A model that was verified is the one they must find."""
    model, engine = service.spec.model, service.spec.engine
    return EngineConfig(
        model_name=service.served_name,
        aliases=model.aliases,
        digest=model.digest or (facts.model.digest if facts.model else ""),
        device=resolve_device(service.spec),
        dtype=engine.dtype,
        quantization=engine.quantization,
        kv_cache_dtype=engine.kv_cache_dtype,
        max_model_len=engine.max_model_len,
        tensor_parallel_size=engine.tensor_parallel_size,
        gpu_memory_utilization_percent=engine.gpu_memory_utilization_percent,
        block_size=engine.block_size,
        kv_cache_bytes=engine.kv_cache_memory.num_bytes,
        host_cache_bytes=engine.host_cache_bytes,
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
    for prefix, device in _DEVICE_OF_RESOURCE.items():
        if any(resource.startswith(prefix) for resource in spec.resources.names):
            return device
    return Device.CPU


def _pod_template(
    service: InferenceService, digest: str, facts: Facts, fetch: KubernetesObject | None
) -> KubernetesObject:
    """The pod without what the user adds to it."""
    spec = service.spec
    volume, mount = engine_model_volume(service, facts)
    shm = shm_volume(spec)
    engine = container(
        ENGINE_CONTAINER,
        spec.engine.image or facts.engine_image,
        ["python", "-m", "pagelet_engine.server"],
        [
            *("--model", names.MODEL_MOUNT),
            *("--config", f"{names.CONFIG_MOUNT}/{names.CONFIG_FILE}"),
            *("--grpc-port", str(names.ENGINE_GRPC_PORT)),
            *("--ops-port", str(names.ENGINE_OPS_PORT)),
        ],
        [mount, config_mount(), *([{"name": "shm", "mountPath": SHM_MOUNT}] if shm else ())],
        engine_resources(spec),
    )
    volumes = [volume, config_volume(f"{service.metadata.name}-{digest}", names.CONFIG_FILE)]
    pod_labels = labels(service, names.COMPONENT_ENGINE, digest)
    if fetch is not None:
        pod_labels[FETCHES_LABEL] = "true"
        volumes[-1] = config_volume(f"{service.metadata.name}-{digest}", names.CONFIG_FILE, SOURCE_FILE)
        if credentials := credentials_volume(spec.model.source):
            volumes.append(credentials)
    if shm:
        volumes.append(shm)
    key = {} if spec.model.source.path is not None else {MODEL_ANNOTATION: model_key(service)}
    return pod_template(
        service,
        pod_labels,
        {**NOT_EVICTED, **key},
        [
            serving(
                engine,
                {"grpc": names.ENGINE_GRPC_PORT, "ops": names.ENGINE_OPS_PORT},
                # Started means ready here: loading a model is what takes the time.
                startup_path=names.READY_PATH,
                startup_timeout_s=spec.engine.startup_timeout.seconds,
            )
        ],
        volumes,
        # No pause before SIGTERM: gateways learn of it on their sessions, and send what is refused elsewhere.
        grace_s=spec.engine.drain_timeout.seconds + GRACE_MARGIN_S,
        initContainers=[fetch] if fetch else [],
        tolerations=tolerations(spec),
        affinity=affinity(spec),
    )
