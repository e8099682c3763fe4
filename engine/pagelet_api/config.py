"""What a container is started with: one JSON file each, rendered by the operator, read by the part.

The file carries no paths and no addresses: those are arguments and environment variables, which a runtime may rewrite.
Unknown fields are errors, so that an older part never ignores what a newer operator asked for.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel


class ConfigError(ValueError):
    """A configuration file that cannot be used; the message names file, field and what was wanted."""


class Device(StrEnum):
    AUTO = "auto"
    CUDA = "cuda"
    ROCM = "rocm"
    CPU = "cpu"


class Dtype(StrEnum):
    AUTO = "auto"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FLOAT32 = "float32"


class Quantization(StrEnum):
    NONE = "none"
    FP8 = "fp8"
    INT8 = "int8"
    INT4 = "int4"


class KvCacheDtype(StrEnum):
    AUTO = "auto"
    FP8 = "fp8"


Positive = Annotated[int, Field(gt=0)]


class _ConfigFile(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,  # the page docs/configuration.md shows them
    )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Parse the file at `path`; raises ConfigError with one line a wrong field."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']} (found {e['input']!r:.80})"
                for e in error.errors()
            )
            raise ConfigError(f"bad configuration {path}: {wrong}") from error

    def to_json(self) -> str:
        """The file's text: stable bytes for the same values."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"


class EngineConfig(_ConfigFile):
    """An engine's settings; the meaning and the defaults are those of `spec.engine`."""

    model_name: str
    """The name that clients ask for."""
    aliases: tuple[str, ...] = ()
    """More names for the same model."""
    digest: str = ""
    """Wanted digest of the model folder, "sha256:…"; empty: any."""
    device: Device = Device.AUTO
    """What the engine computes on."""
    dtype: Dtype = Dtype.AUTO
    """Type of weights and KV cache."""
    quantization: Quantization = Quantization.NONE
    """How the weights of linear layers are held; none: in dtype."""
    kv_cache_dtype: KvCacheDtype = KvCacheDtype.AUTO
    """Type of the KV cache; auto: dtype."""
    max_model_len: Annotated[int, Field(ge=0)] = 0
    """Tokens of prompt and output of one sample; 0: the model's own."""
    tensor_parallel_size: Positive = 1
    """Accelerators that the model is spread over."""
    gpu_memory_utilization_percent: Annotated[int, Field(ge=10, le=99)] = 90
    """Share of an accelerator's memory to take."""
    block_size: Positive = 16
    """Tokens of one KV block."""
    kv_cache_bytes: Positive = 4 * 2**30
    """Memory of the KV pool on a CPU."""
    host_cache_bytes: Annotated[int, Field(ge=0)] = 0
    """Memory of the KV cache's second tier, in the host."""
    prefix_caching: bool = True
    """Keep the blocks of finished requests for prompts that begin the same."""
    max_num_seqs: Positive = 256
    """Samples computed in one step, at most."""
    max_num_batched_tokens: Positive = 2048
    """Tokens computed in one step, at most."""
    max_queued_requests: Positive = 1024
    """Requests waiting, at most."""
    drain_timeout_s: Positive = 120
    """How long requests in flight may go on after SIGTERM."""
    step_timeout_s: Positive = 30
    """How long a step may take, or the core be silent, before the engine is reported dead."""


class GatewayConfig(_ConfigFile):
    """A gateway's settings."""

    model_name: str
    """The name that clients ask for."""
    aliases: tuple[str, ...] = ()
    """More names for the same model."""
    engine_host: str
    """DNS name whose addresses are the ready engines (the headless Service)."""
    engine_port: Positive = 9000
    """Port of the engines' gRPC."""
    request_timeout_s: Positive = 600
    """How long one request may take, waiting included."""
    drain_timeout_s: Positive = 120
    """How long requests in flight may go on after SIGTERM."""


class S3FetchConfig(_ConfigFile):
    """Objects under a prefix of a bucket; the meaning is that of `spec.model.source.s3`."""

    uri: Annotated[str, Field(pattern=r"^s3://[^/]+(/.*)?$")]
    """Such as s3://models/mistral-7b-support."""
    endpoint: str = ""
    """Of the S3 service; empty: AWS."""
    region: str = ""
    """Empty: us-east-1."""
    path_style: bool = True
    """true: the bucket is in the path; false: in the host's name."""
    signed: bool = False
    """Requests are signed: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are among the credentials' files."""
    has_ca_bundle: bool = False
    """The endpoint's own authority is to be trusted: ca.crt is among the credentials' files."""


class HuggingFaceFetchConfig(_ConfigFile):
    """A repository of a hub; the meaning is that of `spec.model.source.huggingFace`."""

    repo: Annotated[str, Field(min_length=1)]
    """Such as mistralai/Mistral-7B-Instruct-v0.3."""
    revision: Annotated[str, Field(min_length=1)] = "main"
    """Branch, tag or commit."""
    endpoint: str = ""
    """Of the hub; empty: https://huggingface.co."""
    has_token: bool = False
    """The repository is not public: `token` is among the credentials' files."""


class PvcFetchConfig(_ConfigFile):
    """A folder that is mounted already; where, is an argument."""


class FetcherConfig(_ConfigFile):
    """Where the model Job fetches from: exactly one of the fields. Keys and tokens are files beside it, never in it."""

    s3: S3FetchConfig | None = None
    """Objects under a prefix of an S3 bucket."""
    hugging_face: HuggingFaceFetchConfig | None = None
    """A repository of a Hugging Face hub."""
    pvc: PvcFetchConfig | None = None
    """A folder that is mounted already."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        named = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(named) != 1:
            raise ValueError(f"wanted exactly one of s3, huggingFace and pvc, found {', '.join(named) or 'none'}")
        return self
