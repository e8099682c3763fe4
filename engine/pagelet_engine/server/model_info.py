"""What an engine says about the model it serves. Pure: facts and measured numbers in, a message out."""

import importlib.metadata
from collections.abc import Sequence
from typing import Protocol

from pagelet_api import inference_pb2 as pb
from pagelet_api.config import EngineConfig

from pagelet_engine.server.validation import LIMITS


class ModelFacts(Protocol):
    """What a worker knows of the model it has loaded."""

    @property
    def digest(self) -> str: ...
    @property
    def architecture(self) -> str: ...
    @property
    def parameters(self) -> int: ...
    @property
    def weight_bytes(self) -> int: ...
    @property
    def dtype(self) -> str: ...
    @property
    def kv_cache_dtype(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def max_model_len(self) -> int: ...
    @property
    def eos_token_ids(self) -> Sequence[int]: ...
    @property
    def bos_token_id(self) -> int | None: ...


def model_info(
    facts: ModelFacts, config: EngineConfig, num_blocks: int, max_length: int, created_ns: int
) -> pb.ModelInfo:
    """`max_length`: tokens of one sample that this engine can hold; `created_ns`: now, in Unix time."""
    limits = pb.RequestLimits(max_queued_requests=config.max_queued_requests)
    limits.MergeFrom(LIMITS)
    return pb.ModelInfo(
        name=config.model_name,
        aliases=config.aliases,
        digest=facts.digest,
        architecture=facts.architecture,
        parameters=facts.parameters,
        weight_bytes=facts.weight_bytes,
        max_model_len=max_length,
        vocab_size=facts.vocab_size,
        dtype=facts.dtype,
        kv_cache_dtype=facts.kv_cache_dtype,
        quantization=config.quantization.value,
        block_size=config.block_size,
        num_blocks=num_blocks,
        eos_token_ids=facts.eos_token_ids,
        bos_token_id=facts.bos_token_id,
        limits=limits,
        engine_epoch=created_ns,  # another on every start
        engine_version=importlib.metadata.version("pagelet"),
        device=facts.device,
        created_unix_s=created_ns // 10**9,
    )
