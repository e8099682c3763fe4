"""`spec`: what the user wants. Every default is the one a production service would start from.

The model's source and storage are in `model_source.py`, what a pod template may add in `pod_template.py`.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema

from pagelet_api.config import Device, Dtype, KvCacheDtype, Quantization
from pagelet_api.quantities import MAX_TEXT, QUANTITY_PATTERN, Duration, Memory, parse_quantity
from pagelet_api.v1alpha1.model_source import ModelSource, ModelStorage
from pagelet_api.v1alpha1.part import Part
from pagelet_api.v1alpha1.pod_template import PodTemplate

SERVED_NAME_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._:/-]*[A-Za-z0-9])?$"
SERVED_NAME_OR_EMPTY_PATTERN = r"^([A-Za-z0-9]([A-Za-z0-9._:/-]*[A-Za-z0-9])?)?$"
DIGEST_PATTERN = r"^(sha256:[0-9a-f]{64})?$"
LABEL_VALUE_PATTERN = r"^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$"
ACCELERATOR_PREFIXES = ("nvidia.com/", "amd.com/")


def _quantity(value: object) -> int | str:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"wanted a quantity such as 4Gi, 500m or 2, found {value!r:.60}; quote a fraction")
    parse_quantity(str(value))
    return value


Quantity = Annotated[
    int | str,
    PlainValidator(_quantity),
    # A list of types is no structural schema; this is what Kubernetes has for "2" and 2.
    WithJsonSchema({"x-kubernetes-int-or-string": True, "pattern": QUANTITY_PATTERN, "maxLength": MAX_TEXT}),
]
ResourceName = Annotated[str, Field(min_length=1, max_length=253)]
ResourceList = Annotated[dict[ResourceName, Quantity], Field(max_length=16)]
ServedName = Annotated[str, Field(min_length=1, max_length=128, pattern=SERVED_NAME_PATTERN)]


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"wanted each name once, found {', '.join(repeated)} twice")
    return names


ServedNames = Annotated[
    tuple[ServedName, ...],
    Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"}),
    AfterValidator(_each_once),
]


class Resources(Part):
    """Resources of one pod, handed to Kubernetes as they are."""

    limits: ResourceList = Field(default_factory=dict)
    """The most a pod may use, by resource name: cpu, memory, nvidia.com/gpu, …"""
    requests: ResourceList = Field(default_factory=dict)
    """What a node must have free for the pod; where left out, the limits."""

    @property
    def names(self) -> frozenset[str]:
        """Every resource that is asked for."""
        return frozenset({*self.limits, *self.requests})

    @property
    def has_accelerators(self) -> bool:
        """Whether a GPU, or a part of one, is named: by the vendor's prefix."""
        return any(name.startswith(ACCELERATOR_PREFIXES) for name in self.names)


class ModelSpec(Part):
    """The model that is served. A change here makes a new revision."""

    name: Annotated[str, Field(max_length=128, pattern=SERVED_NAME_OR_EMPTY_PATTERN)] = ""
    """The name that clients ask for; empty: the name of the InferenceService."""
    aliases: ServedNames = ()
    """More names under which clients may ask for the same model."""
    source: ModelSource
    """Where the model folder comes from: exactly one of the fields."""
    digest: Annotated[str, Field(max_length=71, pattern=DIGEST_PATTERN)] = ""
    """Wanted digest of the model folder, as `pagelet import` printed it; empty: any. Checked before the first token."""
    storage: ModelStorage | None = None
    """Where a fetched model lives: for the sources s3 and huggingFace, and only for them."""


class EngineSpec(Part):
    """The engine: how the model is held and run. A change here makes a new revision."""

    image: Annotated[str, Field(max_length=512)] = ""
    """Container image; empty: that of this release."""
    device: Device = Device.AUTO
    """auto: the accelerator that the resources ask for, else cpu. A device that is asked for and cannot be used ends
    the engine with one line; it never falls back to another."""
    dtype: Dtype = Dtype.AUTO
    """Type of weights and KV cache, where nothing below says otherwise; auto: the checkpoint's own."""
    quantization: Quantization = Quantization.NONE
    """How the weights of linear layers are held; all else stays in dtype, and so do experts. On accelerators fp8, with
    a scale a row, activations being quantised too, token by token. On the cpu device int8, with a scale a row, and
    int4, with a scale for every 32 inputs of a row. All are made when the model is loaded. none: in dtype."""
    kv_cache_dtype: KvCacheDtype = KvCacheDtype.AUTO
    """Type of the KV cache. fp8, on accelerators: half the bytes, with a scale for each token and head. auto: dtype."""
    max_model_len: Annotated[int, Field(ge=0, le=2**24)] = 0
    """Tokens of prompt and output of one sample; 0: as many as the model was made for."""
    tensor_parallel_size: Annotated[int, Field(ge=1, le=64)] = 1
    """Accelerators that one replica is spread over. All of them in one pod: resources ask for as many."""
    gpu_memory_utilization_percent: Annotated[int, Field(ge=10, le=99)] = 90
    """Share of an accelerator's memory that an engine takes; what weights and the largest step leave of it is the KV
    cache."""
    block_size: Annotated[int, Field(ge=16, le=128, multiple_of=16)] = 16
    """Tokens of one KV block: larger ones waste more at the end of each sample, and share less."""
    kv_cache_memory: Memory = Memory("4Gi")
    """Memory of the KV cache, on the cpu device."""
    host_cache_memory: Memory | None = None
    """Host memory beside an accelerator's: for the KV cache of preempted requests, and for what the prefix cache would
    lose. Counted into the pod's memory. Absent: none, both are computed again."""
    prefix_caching: bool = True
    """Keep the blocks of finished requests, and reuse them for prompts that begin the same."""
    max_num_seqs: Annotated[int, Field(ge=1, le=65536)] = 256
    """Samples computed in one step, at most."""
    max_num_batched_tokens: Annotated[int, Field(ge=1, le=2**20)] = 2048
    """Tokens computed in one step, at most: longer prompts are computed in chunks."""
    max_queued_requests: Annotated[int, Field(ge=1, le=10**6)] = 1024
    """Requests waiting, at most; one more is answered with 429 and a time to come back."""
    startup_timeout: Duration = Duration("30m")
    """How long an engine may take until it is ready, from when its pod is scheduled."""
    drain_timeout: Duration = Duration("2m")
    """How long requests in flight may go on when an engine is asked to stop."""

    @property
    def host_cache_bytes(self) -> int:
        return self.host_cache_memory.num_bytes if self.host_cache_memory else 0


class AcceleratorSpec(Part):
    """The accelerator of an engine pod: which nodes it may run on, and how much memory the plan reckons with."""

    product: Annotated[str, Field(max_length=63, pattern=LABEL_VALUE_PATTERN)] = ""
    """Product name as the device's node label (nvidia.com/gpu.product, amd.com/gpu.product-name) has it, such as
    NVIDIA-A100-SXM4-40GB: pods run on such nodes alone; empty: any."""
    memory: Memory | None = None
    """Memory of one accelerator; left out: the product's."""


class GatewaySpec(Part):
    """The gateway: HTTP and text. A change here restarts no engine."""

    replicas: Annotated[int, Field(ge=1, le=64)] = 2
    """Gateway pods."""
    resources: Resources = Resources()
    """Resources of one gateway pod. Where they name no memory: a request of 512Mi, and a limit of 1536Mi, which is the
    most that a gateway keeps itself to."""
    request_timeout: Duration = Duration("10m")
    """How long one request may take, waiting included."""


class RolloutStrategy(StrEnum):
    AUTO = "Auto"
    SURGE = "Surge"
    IN_PLACE = "InPlace"


class RolloutSpec(Part):
    """How engines of a new revision replace those of the old one."""

    strategy: RolloutStrategy = RolloutStrategy.AUTO
    """Surge: a new engine is ready before an old one goes. InPlace: an old engine goes, and its device serves the new
    one. Auto: Surge, and InPlace when no device is free for the new engine within surgeTimeout."""
    surge_timeout: Duration = Duration("2m")
    """How long Auto waits for the new engine's pod to be scheduled; then that pod is deleted, and an old one goes."""
    max_unavailable: Annotated[int, Field(ge=1, le=1000)] = 1
    """Engines that may be missing at a time, in place."""
    allow_downtime: bool = False
    """false: the last engine that answers is never taken down; the rollout waits for a free device instead."""
    progress_deadline: Duration = Duration("1h")
    """How long an engine of the new revision may take until it is ready, from when its pod is scheduled; later,
    Degraded says so. The rollout waits at that engine either way."""


class EgressRule(Part):
    """Addresses that the model Job may reach."""

    cidr: Annotated[str, Field(min_length=1, max_length=64)]
    """Such as 10.1.0.0/16."""
    ports: Annotated[tuple[Annotated[int, Field(ge=1, le=65535)], ...], Field(max_length=16)] = ()
    """TCP ports; empty: all."""


class SecuritySpec(Part):
    """Who may talk to whom."""

    egress: Annotated[tuple[EgressRule, ...], Field(max_length=16)] = ()
    """Where the model is fetched from: the pods that fetch may reach these addresses and no others; empty: any, because
    a source's address is not known beforehand. Engines and gateways reach nothing outside the service in either
    case."""


class InferenceServiceSpec(Part):
    """What the user wants."""

    suspend: bool = False
    """true: no engine pods; everything else stays."""
    restarted_at: Annotated[str, Field(max_length=64)] = ""
    """Any text; a new value replaces the engines, as `kubectl rollout restart` does."""
    replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """Engine replicas. A value that nobody owns (no file, no autoscaler, no `kubectl scale`) is the default and changes
    nothing that runs."""
    model: ModelSpec
    """The model that is served."""
    engine: EngineSpec = EngineSpec()
    """How the model is held and run. A change here makes a new revision."""
    resources: Resources = Resources()
    """Resources of one engine pod. A change here makes a new revision."""
    accelerator: AcceleratorSpec = AcceleratorSpec()
    """The accelerator of an engine pod. A change here makes a new revision."""
    rollout: RolloutSpec = RolloutSpec()
    """How engines of a new revision replace those of the old one."""
    gateway: GatewaySpec = GatewaySpec()
    """HTTP and text. A change here restarts no engine."""
    security: SecuritySpec = SecuritySpec()
    """Who may talk to whom."""
    pod_template: PodTemplate = PodTemplate()
    """What the engine pods have besides. A change here makes a new revision."""
