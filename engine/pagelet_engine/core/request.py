"""A request as it arrives at the core, and the events the core answers with."""

from dataclasses import dataclass
from enum import Enum

from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.step import TokenLogprobs


class FinishReason(Enum):
    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"
    DEADLINE = "deadline"
    NON_FINITE = "non_finite"
    """The model computed NaN or infinity."""
    NOTHING_LEFT = "nothing_left"
    """Its own parameters exclude every token."""


@dataclass(frozen=True, slots=True)
class Request:
    """Tokens in. Validated at the edge: ids below the vocabulary's size, sampling parameters in range."""

    id: str
    prompt: tuple[int, ...]
    sampling: SamplingParams
    priority: int = 0
    tenant: str = ""
    cache_salt: str = ""
    adapter: str = ""
    adapter_slot: int = 0
    deadline_s: float | None = None
    """Monotonic time after which it is given up."""
    arrived_s: float | None = None
    """Monotonic time since which it waits; None: nobody measures that."""

    @property
    def least_output(self) -> int:
        """Tokens that each of its samples draws for certain."""
        if not self.sampling.stop_token_ids and self.sampling.max_tokens is not None:
            return self.sampling.max_tokens
        return max(1, self.sampling.min_tokens)


@dataclass(frozen=True, slots=True)
class PromptReport:
    tokens: int
    cached_tokens: int
    logprobs: tuple[TokenLogprobs | None, ...] = ()
    """One a prompt token, the first None; empty when not asked for."""


@dataclass(frozen=True, slots=True)
class SampleUpdate:
    index: int
    tokens: tuple[int, ...]
    logprobs: tuple[TokenLogprobs, ...] = ()
    finish_reason: FinishReason | None = None
    stop_token: int | None = None
    number: int | None = None
    """The sample's, told with its first tokens: what is drawn later is drawn by that number."""


@dataclass(frozen=True, slots=True)
class RequestUpdate:
    """What one step changed for one request."""

    request_id: str
    samples: tuple[SampleUpdate, ...] = ()
    prompt: PromptReport | None = None
    """Once, with the first tokens."""
    finished: bool = False


class RejectReason(Enum):
    NEVER_FITS = "never_fits"
    QUEUE_FULL = "queue_full"
    TOO_LATE = "too_late"
    """It could not be answered before its deadline."""
    INVALID = "invalid"
    DUPLICATE = "duplicate"
    DRAINING = "draining"


class RequestRejected(Exception):
    """A request that is refused on arrival; the message says what was wanted, what was found, and what to do."""

    def __init__(self, reason: RejectReason, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after_s = retry_after_s
        """When asking again is worth it; 0: nobody knows."""
