"""What happened in a simulation, and the figures that follow.

Refuses to know why. The clock is the simulation's.
"""

from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from pagelet_engine.core.load import LoadSnapshot
from pagelet_engine.core.news import News
from pagelet_engine.core.request import Request
from pagelet_engine.core.step import Step, Tier


class KvUse(NamedTuple):
    """Token slots of the KV cache while a step runs."""

    live: int
    """With keys and values that somebody still needs; what several share counts once."""
    allocated: int
    """Nobody else can have them: blocks in use, or a reservation."""
    total: int


@dataclass(slots=True)
class Life:
    """One request, seen from outside."""

    request: Request
    arrived_s: float
    first_token_s: float = 0.0
    finished_s: float = 0.0

    @property
    def output_tokens(self) -> int:
        assert self.request.sampling.max_tokens, "a simulated request says how long its output is"
        return self.request.sampling.max_tokens

    @property
    def tokens(self) -> int:
        return len(self.request.prompt) + self.output_tokens

    @property
    def normalised_latency(self) -> float:
        """Seconds from arrival to the last token, for each token of output (the paper's measure, after Orca's)."""
        return (self.finished_s - self.arrived_s) / self.output_tokens


@dataclass(slots=True)
class Integral:
    """Of what is measured once a step, over the time of the steps."""

    seconds: float = 0.0
    live: float = 0.0
    allocated: float = 0.0
    total: float = 0.0
    running: float = 0.0
    drawn: int = 0
    """Tokens of output: a sum, no integral."""


class Journal:
    """Everything that a simulation notes."""

    def __init__(self) -> None:
        self.unfinished: dict[str, Life] = {}
        self.finished: list[Life] = []
        self.latency_sum = 0.0
        """Of the normalised latencies so far."""
        self.busy_s = 0.0
        self.steps = 0
        self.loaded = Integral()
        """While somebody waits."""
        self.computed_tokens = 0
        self.recomputed_tokens = 0
        """Computed once more, because a preemption had lost them."""
        self.blocks_to_host = 0
        self.blocks_from_host = 0
        self.host_blocks_peak = 0
        """The most that preempted requests and copies in flight held at once."""
        self.preemptions = 0
        self._computed: dict[int, int] = {}  # sample → tokens that have once been computed

    # ---- noting ----------------------------------------------------------------------------------------------------

    def arrive(self, request: Request, now_s: float) -> None:
        arrived_s = now_s if request.arrived_s is None else request.arrived_s
        self.unfinished[request.id] = Life(request, arrived_s)

    def step(self, step: Step, step_s: float, load: LoadSnapshot, kv: KvUse) -> None:
        """What runs for the next `step_s` seconds."""
        self.steps += 1
        self.busy_s += step_s
        self.preemptions = load.preemptions
        self.host_blocks_peak = max(self.host_blocks_peak, load.host_blocks_in_use)
        if step.copies:
            self._count_copies(step)
        computed = self._computed
        for segment in step.segments:
            end = segment.start + segment.num_tokens
            before = computed.get(segment.sample, 0)
            if segment.start < before:
                self.recomputed_tokens += min(end, before) - segment.start
            if end > before:
                computed[segment.sample] = end
            self.computed_tokens += segment.num_tokens
        if load.waiting:
            loaded = self.loaded
            loaded.seconds += step_s
            loaded.live += kv.live * step_s
            loaded.allocated += kv.allocated * step_s
            loaded.total += kv.total * step_s
            loaded.running += load.running * step_s
            loaded.drawn += sum(segment.samples_token for segment in step.segments)

    def _count_copies(self, step: Step) -> None:
        self.blocks_to_host += sum(copy.destination_tier is Tier.HOST for copy in step.copies)
        self.blocks_from_host += sum(copy.source_tier is Tier.HOST for copy in step.copies)

    def tell(self, news: News, now_s: float) -> None:
        for update in news.updates:
            life = self.unfinished[update.request_id]
            if update.prompt:
                life.first_token_s = now_s
            if update.finished:
                life.finished_s = now_s
                del self.unfinished[update.request_id]
                self.finished.append(life)
                self.latency_sum += life.normalised_latency

    # ---- figures ---------------------------------------------------------------------------------------------------

    @property
    def mean_latency(self) -> float:
        """Normalised, in seconds a token; requests that have not finished make it unknown."""
        return fmean(life.normalised_latency for life in self.finished) if not self.unfinished else float("inf")

    @property
    def utilisation(self) -> float:
        """Live tokens ÷ slots of what is allocated, while somebody waits."""
        return self.loaded.live / self.loaded.allocated

    @property
    def share_of_pool(self) -> float:
        """Live tokens ÷ all slots there are, while somebody waits: what the paper's fig. 2 shows."""
        return self.loaded.live / self.loaded.total

    @property
    def sessions(self) -> float:
        """Requests that run at once, while somebody waits."""
        return self.loaded.running / self.loaded.seconds

    @property
    def useful_tokens(self) -> int:
        """Prompts and outputs of the finished, each token once."""
        return sum(life.tokens for life in self.finished)

    @property
    def output_tokens_per_s(self) -> float:
        """While somebody waits."""
        return self.loaded.drawn / self.loaded.seconds

    @property
    def requests_per_s(self) -> float:
        """The same, in requests of the mean length."""
        return self.output_tokens_per_s / fmean(life.output_tokens for life in self.finished)


def jain(shares: list[float]) -> float:
    """Jain's fairness index (DEC-TR-301, 1984): 1 when all are equal, 1/n when one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))
