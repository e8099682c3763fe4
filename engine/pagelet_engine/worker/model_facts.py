"""What a loaded model is, in numbers; and the one error of loading it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class ModelError(Exception):
    """A model that is missing, broken, unsupported or too large; the message says what was wanted, found, and to do."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    digest: str
    architecture: str
    parameters: int
    weight_bytes: int
    dtype: str
    kv_cache_dtype: str
    vocab_size: int
    max_model_len: int
    """Tokens of prompt and output of one sample: the model's own, or less by configuration. The pool may hold less."""
    eos_token_ids: tuple[int, ...]
    bos_token_id: int | None
    device: str
    """cpu, cuda or rocm."""


def end_tokens(config: Mapping[str, Any], generation_config: Mapping[str, Any], vocab_size: int) -> tuple[int, ...]:
    """The end-of-sequence tokens: generation_config.json's, which knows of chats' ends, else config.json's."""
    found = generation_config.get("eos_token_id", config.get("eos_token_id"))
    ids = found if isinstance(found, list) else [found]
    return tuple(token for token in ids if _is_token(token, vocab_size))


def begin_token(config: Mapping[str, Any], vocab_size: int) -> int | None:
    token = config.get("bos_token_id")
    return token if _is_token(token, vocab_size) else None


def _is_token(value: object, vocab_size: int) -> bool:
    return isinstance(value, int) and 0 <= value < vocab_size
