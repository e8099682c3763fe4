"""Requests that arrive: lengths with the statistics of real conversations, and Poisson arrivals. Seeded.

Lengths are log-normal with the means that the PagedAttention paper gives (SOSP '23, fig. 11), inputs and outputs
independent, and clipped to the longest that is allowed. How wide ShareGPT's outputs are follows from the paper's own
measurements: Orca (Max) runs 7.00 requests at once (fig. 13a), 20.4 % of its 15.7k slots hold tokens and 13.3 % are
kept for those still to come (fig. 2), so a running request has 457 tokens and expects 298. Seen at a random moment that
is E[prompt] + E[out²] / 2 E[out] and E[out²] / 2 E[out]: the prompt is 159 (the paper says 161), and E[out²] / E[out]²
is 2 × 298 / 338 = 1.77, a log-normal's exp(sigma²) for sigma = 0.755. The other widths are assumed: the paper shows
histograms only.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from pagelet_engine.core.request import Request
from pagelet_engine.core.sampling import SamplingParams

SEED = 2023
_FIRST_PREFIX = 1 << 31
"""The token of shared prefixes: larger than any request's number."""


@dataclass(frozen=True, slots=True)
class LogNormal:
    """Of this mean, in tokens; `sigma` is the standard deviation of the logarithm."""

    mean: float
    sigma: float

    def draw(self, rng: random.Random) -> int:
        return max(1, round(rng.lognormvariate(math.log(self.mean) - self.sigma**2 / 2, self.sigma)))


@dataclass(frozen=True, slots=True)
class Lengths:
    """Of prompts and outputs; together at most `max_length`."""

    name: str
    prompt: LogNormal
    output: LogNormal
    max_length: int

    def draw(self, rng: random.Random) -> tuple[int, int]:
        prompt = min(self.prompt.draw(rng), self.max_length - 1)
        return prompt, min(self.output.draw(rng), self.max_length - prompt)


SHAREGPT = Lengths("ShareGPT", LogNormal(161, 1.0), LogNormal(338, 0.755), 2048)
ALPACA = Lengths("Alpaca", LogNormal(19, 0.5), LogNormal(58, 0.755), 2048)
LONG_CHATS = Lengths("long chats", LogNormal(1500, 1.0), LogNormal(300, 0.755), 8192)
"""A conversation's history comes with each of its turns. Assumed, not measured."""


class Arrival(NamedTuple):
    """A request before anybody has made its tokens."""

    arrived_s: float
    prompt_tokens: int
    output_tokens: int
    tenant: str = ""
    prefix: int = 0
    """Requests with the same number other than 0 begin with the same `prefix_tokens`."""
    prefix_tokens: int = 0

    def request(self, number: int, name: str = "") -> Request:
        """Prompts differ by number from their first token on, but for the shared prefix."""
        shared = min(self.prefix_tokens, self.prompt_tokens)
        prompt = (_FIRST_PREFIX + self.prefix,) * shared + (number,) * (self.prompt_tokens - shared)
        sampling = SamplingParams(max_tokens=self.output_tokens)
        return Request(name or str(number), prompt, sampling, tenant=self.tenant, arrived_s=self.arrived_s)


def poisson(lengths: Lengths, rate: float, duration_s: float, seed: int = SEED) -> list[Arrival]:
    """`rate` requests a second. Another rate has the same lengths in the same order, and the same gaps stretched."""
    gaps, drawn = random.Random(f"{seed} gaps"), random.Random(f"{seed} {lengths.name}")
    arrivals = []
    now_s = gaps.expovariate(rate)
    while now_s < duration_s:
        arrivals.append(Arrival(now_s, *lengths.draw(drawn)))
        now_s += gaps.expovariate(rate)
    return arrivals


def backlog(lengths: Lengths, count: int, seed: int = SEED) -> list[Arrival]:
    """All at once: more than can run."""
    return list(islice(endless(lengths, seed), count))


def endless(lengths: Lengths, seed: int = SEED) -> Iterator[Arrival]:
    rng = random.Random(f"{seed} {lengths.name}")
    while True:
        yield Arrival(0.0, *lengths.draw(rng))
