"""`spec`: what the user wants. Every default is the one a production service would start from."""

from typing import Annotated

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema

from pagelet_api.config import Device, Dtype
from pagelet_api.quantities import MAX_TEXT, QUANTITY_PATTERN, Duration, Memory, parse_quantity
from pagelet_api.v1alpha1.part import Part

SERVED_NAME_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._:/-]*[A-Za-z0-9])?$"
SERVED_NAME_OR_EMPTY_PATTERN = r"^([A-Za-z0-9]([A-Za-z0-9._:/-]*[A-Za-z0-9])?)?$"
DIGEST_PATTERN = r"^(sha256:[0-9a-f]{64})?$"
LABEL_VALUE_PATTERN = r"^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$"


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


class ModelSource(Part):
    """Where the model folder comes from: exactly one of the fields."""

    path: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """A model folder on this machine, for `pagelet up` alone. A relative path begins at the folder of this file."""


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


class EngineSpec(Part):
    """The engine: how the model is held and run. A change here makes a new revision."""

    image: Annotated[str, Field(max_length=512)] = ""
    """Container image; empty: that of this release."""
    device: Device = Device.AUTO
    """auto: the accelerator that the resources ask for, else cpu. A device that is asked for and cannot be used ends
    the engine with one line; it never falls back to another."""
    dtype: Dtype = Dtype.AUTO
    """Type of weights and KV cache; auto: the checkpoint's own."""
    max_model_len: Annotated[int, Field(ge=0, le=2**24)] = 0
    """Tokens of prompt and output of one sample; 0: as many as the model was made for."""
    block_size: Annotated[int, Field(ge=16, le=128, multiple_of=16)] = 16
    """Tokens of one KV block: larger ones waste more at the end of each sample, and share less."""
    kv_cache_memory: Memory = Memory("4Gi")
    """Memory of the KV cache, on the cpu device."""
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


class AcceleratorSpec(Part):
    """The accelerator of an engine pod. Read by the memory plan."""

    product: Annotated[str, Field(max_length=63, pattern=LABEL_VALUE_PATTERN)] = ""
    """Product name as the device's node label has it, such as NVIDIA-A100-SXM4-40GB; empty: any."""
    memory: Memory | None = None
    """Memory of one accelerator; left out: the product's."""


class GatewaySpec(Part):
    """The gateway: HTTP and text. A change here restarts no engine."""

    replicas: Annotated[int, Field(ge=1, le=64)] = 2
    """Gateway pods."""
    resources: Resources = Resources()
    """Resources of one gateway pod."""
    request_timeout: Duration = Duration("10m")
    """How long one request may take, waiting included."""


class InferenceServiceSpec(Part):
    """What the user wants."""

    suspend: bool = False
    """true: no engine pods; everything else stays."""
    restarted_at: Annotated[str, Field(max_length=64)] = ""
    """Any text; a new value replaces the engines, as `kubectl rollout restart` does."""
    replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """Engine replicas."""
    model: ModelSpec
    """The model that is served."""
    engine: EngineSpec = EngineSpec()
    """How the model is held and run. A change here makes a new revision."""
    resources: Resources = Resources()
    """Resources of one engine pod. A change here makes a new revision."""
    accelerator: AcceleratorSpec = AcceleratorSpec()
    """The accelerator of an engine pod."""
    gateway: GatewaySpec = GatewaySpec()
    """HTTP and text. A change here restarts no engine."""
