"""Requests of random tokens, the same in every process: nothing is shared among prompts."""

import random

from gpu.scene import Scene
from workload import Request, Workload

_SEED = 7


def mixed(scene: Scene) -> Workload:
    """All at once; prompts and outputs of random lengths."""
    rng = random.Random(f"{_SEED} mixed")
    lengths = [(rng.randint(*scene.lengths), rng.randint(*scene.lengths)) for _ in range(scene.num_requests)]
    return Workload("mixed", tuple(_request(rng, scene.small["vocab_size"], *pair) for pair in lengths))


def alike(name: str, vocab_size: int, count: int, prompt_tokens: int, max_tokens: int) -> Workload:
    """Requests of the same lengths, other tokens for every name."""
    rng = random.Random(f"{_SEED} {name}")
    return Workload(name, tuple(_request(rng, vocab_size, prompt_tokens, max_tokens) for _ in range(count)))


def _request(rng: random.Random, vocab_size: int, prompt_tokens: int, max_tokens: int) -> Request:
    return Request(tuple(rng.choices(range(vocab_size), k=prompt_tokens)), max_tokens)
