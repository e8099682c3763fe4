"""`status`: what is. Computed from observation alone, never from what was just done; absent means not known yet."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from pagelet_api.v1alpha1.part import Part

Count = Annotated[int, Field(ge=0, json_schema_extra={"format": "int32"})]
Size = Annotated[int, Field(ge=0, json_schema_extra={"format": "int64"})]
Name = Annotated[str, Field(max_length=128)]


class ConditionType(StrEnum):
    ACCEPTED = "Accepted"
    MODEL_READY = "ModelReady"
    PROGRESSING = "Progressing"
    AVAILABLE = "Available"
    DEGRADED = "Degraded"


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Part):
    """One aspect of the state, in the form of metav1.Condition."""

    type: ConditionType
    """Accepted: the spec can be built. ModelReady: the model is there and verified. Progressing: a change is under
    way. Available: requests are answered. Degraded: less than was asked for is running."""
    status: ConditionStatus
    """True, False or Unknown."""
    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """One word a program can act on."""
    message: Annotated[str, Field(max_length=32768)] = ""
    """One sentence a person can act on."""
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When `status` last changed."""
    observed_generation: Size = 0
    """metadata.generation for which this was found."""


class RevisionStatus(Part):
    """One revision's engines."""

    name: Name
    """Of its ReplicaSet."""
    replicas: Count = 0
    """Pods wanted."""
    ready: Count = 0
    """Pods that answer."""
    reason: Name = ""
    """Why they do not; empty: nothing is wrong."""


class ModelStatus(Part):
    """What the engines found in the model folder."""

    digest: Name = ""
    """Of the model folder's manifest."""
    architecture: Name = ""
    """As its config.json names it."""
    parameters: Size = 0
    """Tied ones counted once."""
    weight_bytes: Size = 0
    """In the type in which they are held."""
    max_model_len: Count = 0
    """Tokens of prompt and output of one sample."""


class CapacityStatus(Part):
    """What one replica can hold: capacity, not use."""

    block_size: Count = 0
    """Tokens of one KV block."""
    blocks_planned: Count = 0
    """KV blocks by the memory plan."""
    blocks_measured: Count = 0
    """KV blocks that the engine made."""
    tokens_per_replica: Size = 0
    """Tokens that the KV cache of one replica holds."""


class InferenceServiceStatus(Part):
    """What is."""

    observed_generation: Size | None = None
    """metadata.generation that this status is about."""
    conditions: Annotated[
        tuple[Condition, ...],
        Field(
            max_length=len(ConditionType),
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = ()
    """One of each type."""
    replicas: Count | None = None
    """Engine pods."""
    ready_replicas: Count | None = None
    """Engine pods that answer."""
    ready: Name | None = None
    """Ready and wanted engine pods, such as 2/2: a printer column can show one field only."""
    selector: Annotated[str, Field(max_length=1024)] | None = None
    """Label selector of the engine pods, for /scale."""
    url: Annotated[str, Field(max_length=1024)] | None = None
    """Where clients find the OpenAI-compatible API, without /v1."""
    current_revision: Name | None = None
    """The revision that serves."""
    updated_revision: Name | None = None
    """The revision that the spec asks for."""
    revisions: Annotated[
        tuple[RevisionStatus, ...],
        Field(
            max_length=16,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()
    """Revisions that have pods or should have."""
    model: ModelStatus | None = None
    """What the engines found in the model folder."""
    capacity: CapacityStatus | None = None
    """What one replica can hold."""
