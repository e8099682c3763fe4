"""What one step tells the worker, and what the worker answers: the whole contract between decisions and tensors.

A step is `{sample: number of tokens}`. Prefill, chunked prefill, decode and a prefix hit are the same thing with
different numbers. A sample lives in a *slot*, a row of the worker's state that holds its sampling parameters, its
last token, its penalty counts and its block tables; steps carry only what changes.

What is made for every sample of every step is a NamedTuple: a third of the price of a frozen dataclass.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import NamedTuple, Protocol

from pagelet_engine.core.sampling import SamplingParams


class Tier(IntEnum):
    """Where a block's bytes are."""

    DEVICE = 0
    HOST = 1


@dataclass(frozen=True, slots=True)
class BlockCopy:
    """Copy one whole block of a KV group.

    Within the device, a step's copies run in order before its first read or write of the cache. Between tiers they run
    beside the step, in any order, and have ended when it has; nothing else in the step names their blocks, but for
    reading what is copied out.
    """

    group: int
    source_tier: Tier
    source: int
    destination_tier: Tier
    destination: int

    @property
    def is_move(self) -> bool:
        """Whether it goes from one tier to the other."""
        return self.source_tier is not self.destination_tier

    def blocks_in(self, tier: Tier) -> list[int]:
        """Those of its two blocks that lie in this tier."""
        ends = (self.source_tier, self.source), (self.destination_tier, self.destination)
        return [block for where, block in ends if where is tier]


@dataclass(frozen=True, slots=True)
class SlotStart:
    """Give `slot` to a sample, forgetting whoever had it. Its block tables begin empty."""

    slot: int
    sample_index: int
    """Which of the request's n samples: enters the random numbers."""
    sampling: SamplingParams
    prompt: tuple[int, ...]
    output: tuple[int, ...] = ()
    """Tokens already generated, when a preempted sample comes back."""
    adapter_slot: int = 0


@dataclass(frozen=True, slots=True)
class TableUpdate:
    """`block_table[group][index] = block` for the slot; in ascending index, so that appending is the usual case."""

    group: int
    index: int
    block: int


class Segment(NamedTuple):
    """One sample's share of a step: compute `num_tokens` tokens at positions start, start + 1, …"""

    sample: int
    """The sample's number, unique in the engine's life: the key of its result."""
    slot: int
    start: int
    num_tokens: int
    tokens: tuple[int, ...]
    """The token ids; empty means one token, the last that was sampled for this slot (it may still be on the device)."""
    table_updates: tuple[TableUpdate, ...] = ()
    samples_token: bool = True
    """Draw the next token from the last position's logits; False inside a prompt."""


@dataclass(frozen=True, slots=True)
class Step:
    number: int
    starts: tuple[SlotStart, ...]
    copies: tuple[BlockCopy, ...]
    segments: tuple[Segment, ...]

    @property
    def num_tokens(self) -> int:
        return sum(segment.num_tokens for segment in self.segments)

    @property
    def num_moved(self) -> int:
        """Blocks copied from one tier to the other."""
        return sum(copy.is_move for copy in self.copies)


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Natural logarithms of the raw distribution, before penalties, temperature and filters."""

    token: int
    logprob: float
    rank: int
    """1: the most likely."""
    top_tokens: tuple[int, ...] = ()
    top_logprobs: tuple[float, ...] = ()


class NoToken(Enum):
    """Why no token can be drawn from a row of logits."""

    NON_FINITE = "non_finite"
    """The model computed NaN or infinity."""
    NOTHING_LEFT = "nothing_left"
    """It computed numbers, and the sample's own parameters exclude every token."""


class Sampled(NamedTuple):
    """What one segment produced."""

    tokens: tuple[int, ...]
    """Drawn tokens: none inside a prompt, one as a rule, more when drafts were accepted."""
    logprobs: tuple[TokenLogprobs, ...] = ()
    """One a drawn token, when the sample asked for them."""
    prompt_logprobs: tuple[TokenLogprobs, ...] = ()
    """For the segment's prompt positions: entry i is about the prompt's token at position start + i + 1 (so a chunk's
    last entry is about the next chunk's first token, and nothing is reported past the prompt's end)."""
    no_token: NoToken | None = None
    """Why none was drawn where one was to be: none is better than a meaningless one."""


class StepHandle(Protocol):
    def result(self) -> Mapping[int, Sampled]:
        """Wait for the step and return what it drew, by sample number. Raises what the step raised."""
        ...


class Worker(Protocol):
    """Executes steps in the order in which they are submitted."""

    def submit(self, step: Step) -> StepHandle:
        """Start a step and return at once where the device allows it. Up to `depth` steps may be in flight."""
        ...
