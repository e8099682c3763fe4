"""The requests that benchmarks send: fixed lengths, fresh random tokens each round.

Prompts are token ids, so that every peer computes the same tokens whatever its tokenizer. Lengths are the same in every
round, tokens are not: no prefix cache carries over from one round to the next.
"""

import random
from dataclasses import dataclass

_SEED = 20240
_TOKENS = (1000, 48_999)
"""Ordinary tokens of SmolLM2's vocabulary: none of the special ones."""


@dataclass(frozen=True, slots=True)
class Request:
    prompt: tuple[int, ...]
    max_tokens: int
    """Exactly this many are generated: greedy, end-of-sequence ignored."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests that arrive at once."""

    name: str
    requests: tuple[Request, ...]

    @property
    def prompt_tokens(self) -> int:
        return sum(len(request.prompt) for request in self.requests)

    @property
    def output_tokens(self) -> int:
        return sum(request.max_tokens for request in self.requests)

    def subset(self, count: int) -> "Workload":
        """`count` requests at equal distances: for a peer that would take too long over all of them."""
        count = min(count, len(self.requests))
        step = len(self.requests) // count
        return Workload(self.name, self.requests[::step][:count])


def single(round_number: int) -> Workload:
    """One request: 128 tokens in, 128 out."""
    return Workload("single", (Request(_tokens(_rng("single", round_number), 128), 128),))


def mixed(round_number: int) -> Workload:
    """64 requests at once, 32 to 512 tokens in, 16 to 256 out: 19,723 in and 9,035 out in all."""
    lengths = random.Random(_SEED)
    pairs = [(lengths.randint(32, 512), lengths.randint(16, 256)) for _ in range(64)]
    rng = _rng("mixed", round_number)
    return Workload("mixed", tuple(Request(_tokens(rng, prompt), output) for prompt, output in pairs))


def shared_prefix(round_number: int) -> Workload:
    """32 requests that share 512 tokens and have 32 of their own; 32 out each."""
    rng = _rng("prefix", round_number)
    shared = _tokens(rng, 512)
    return Workload("prefix", tuple(Request(shared + _tokens(rng, 32), 32) for _ in range(32)))


def _rng(name: str, round_number: int) -> random.Random:
    return random.Random(f"{_SEED} {name} {round_number}")


def _tokens(rng: random.Random, count: int) -> tuple[int, ...]:
    return tuple(rng.randint(*_TOKENS) for _ in range(count))
