"""Sampling parameters as the engine uses them: complete, validated, every default filled in."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How one request's tokens are drawn; the same meaning as `pagelet.engine.v1.SamplingParams`.

    Order: repetition penalty (prompt and output), presence and frequency penalty (output), logit bias, grammar mask,
    min_tokens, temperature, top-k, top-p, min-p.
    """

    n: int = 1
    max_tokens: int | None = None
    min_tokens: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int = 0
    stop_token_ids: frozenset[int] = frozenset()
    """Tokens that end a sample: the request's own and, unless ignore_eos, the model's end-of-sequence tokens."""
    logprobs: int | None = None
    """Top alternatives reported a token; None: no logprobs at all."""
    prompt_logprobs: int | None = None

    @property
    def has_penalties(self) -> bool:
        """Whether tokens seen before change what is drawn."""
        return (self.repetition_penalty, self.presence_penalty, self.frequency_penalty) != (1.0, 0.0, 0.0)
