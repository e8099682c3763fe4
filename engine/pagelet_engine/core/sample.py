"""What the scheduler remembers: a request in progress, its samples, and the seat a sample has while it runs.

State, and the facts that follow from it. Refuses to decide who computes what, and where.
"""

from collections.abc import Iterator, Sequence

from pagelet_api.blocks import block_name

from pagelet_engine.core.host_tier import Saved
from pagelet_engine.core.kv_cache import BlockTables
from pagelet_engine.core.request import FinishReason, PromptReport, Request
from pagelet_engine.core.step import Segment, TokenLogprobs

Rank = tuple[int, int, int, int]
"""Lower goes first: (-priority, what the tenant had been served, arrival, sample index)."""


class RequestInProgress:
    """A request from its arrival until its last sample has finished."""

    __slots__ = (
        "arrival",
        "cached_tokens",
        "prompt_logprobs",
        "prompt_names",
        "reported",
        "request",
        "root",
        "samples",
        "tenant",
        "unfinished",
    )

    def __init__(
        self, request: Request, arrival: int, sample_numbers: Iterator[int], max_length: int, root: bytes, tenant: str
    ) -> None:
        self.request = request
        self.tenant = tenant
        """Whom its tokens are counted for."""
        self.arrival = arrival
        self.root = root
        """The name before the first block's."""
        self.prompt_names: list[bytes] = []
        """Names of the prompt's full blocks, as far as somebody asked for them."""
        self.prompt_logprobs: list[TokenLogprobs | None] = []
        if request.sampling.prompt_logprobs is not None:
            self.prompt_logprobs = [None] * len(request.prompt)
        self.cached_tokens: int | None = None
        """Prompt tokens that its first sample found in the prefix cache; None until it has a seat."""
        self.reported = False
        """Whether the report on the prompt has been given."""
        length_limit = max_length
        if request.sampling.max_tokens is not None:
            length_limit = len(request.prompt) + request.sampling.max_tokens
        self.samples = tuple(
            Sample(self, next(sample_numbers), index, length_limit) for index in range(request.sampling.n)
        )
        self.unfinished = len(self.samples)

    @property
    def must_compute_prompt(self) -> bool:
        """Whether the prompt's logprobs are still wanted: the prefix cache does not have them."""
        return bool(self.prompt_logprobs) and not self.reported

    def note_prompt_logprobs(self, start: int, logprobs: Sequence[TokenLogprobs]) -> None:
        """What positions start, start + 1, … of the prompt say about the token that follows each."""
        self.prompt_logprobs[start + 1 : start + 1 + len(logprobs)] = logprobs

    def prompt_report(self) -> PromptReport:
        return PromptReport(len(self.request.prompt), self.cached_tokens or 0, tuple(self.prompt_logprobs))


class Sample:
    """One of a request's n answers: what it has said so far, and where it runs, if it runs."""

    __slots__ = (
        "_names",
        "_stops",
        "_stops_after",
        "finish_reason",
        "index",
        "length_limit",
        "number",
        "preempted",
        "preemptions",
        "prompt_length",
        "rank",
        "request",
        "saved",
        "seat",
        "stop_token",
        "tokens",
    )

    def __init__(self, request: RequestInProgress, number: int, index: int, length_limit: int) -> None:
        self.request = request
        self.number = number
        """Unique in the engine's life."""
        self.index = index
        self.rank: Rank = (-request.request.priority, 0, request.arrival, index)
        """Settled when it gets its first seat."""
        self.tokens: list[int] = list(request.request.prompt)
        """Prompt and output."""
        self.prompt_length = len(self.tokens)
        self.length_limit = length_limit
        """Tokens of prompt and output at which it ends."""
        self.seat: Seat | None = None
        self.preempted = False
        """Whether it has lost a seat and not found another yet."""
        self.preemptions = 0
        """How often it has given way to others."""
        self.saved: Saved | None = None
        """What a preempted sample has in host memory."""
        self.finish_reason: FinishReason | None = None
        self.stop_token: int | None = None
        self._names: list[bytes] = []
        self._stops = request.request.sampling.stop_token_ids
        self._stops_after = self.prompt_length + request.request.sampling.min_tokens

    @property
    def tenant(self) -> str:
        return self.request.tenant

    @property
    def priority(self) -> int:
        return self.request.request.priority

    @property
    def output(self) -> tuple[int, ...]:
        return tuple(self.tokens[self.prompt_length :])

    def extend(self, drawn: Sequence[int]) -> int:
        """Append drawn tokens up to the one that ends the sample, if one does; returns how many were appended."""
        tokens = self.tokens
        for kept, token in enumerate(drawn, start=1):
            tokens.append(token)
            if token in self._stops and len(tokens) > self._stops_after:
                self.finish_reason, self.stop_token = FinishReason.STOP, token
                return kept
            if len(tokens) == self.length_limit:
                self.finish_reason = FinishReason.LENGTH
                return kept
        return len(drawn)

    def block_name(self, index: int, block_size: int) -> bytes:
        """The name of the full block at `index`. Samples of one request share the work for their prompt."""
        names, prompt_names = self._names, self.request.prompt_names
        while len(names) <= index:
            if len(names) < len(prompt_names):
                names.append(prompt_names[len(names)])
                continue
            start = len(names) * block_size
            end = start + block_size
            names.append(block_name(names[-1] if names else self.request.root, self.tokens[start:end]))
            if end <= self.prompt_length:
                prompt_names.append(names[-1])
        return names[index]


class Seat:
    """One stay of a sample among the running ones: its slot, its block tables, and how far it has come.

    A sample that is preempted gets a new seat when it comes back; results for the old seat concern nobody any more.
    """

    __slots__ = (
        "computed",
        "last_step",
        "length",
        "loads_in",
        "num_stored",
        "num_told",
        "prompt_step",
        "sample",
        "scheduled",
        "seated_length",
        "slot",
        "tables",
    )

    def __init__(self, sample: Sample, slot: int, tables: BlockTables, num_cached: int, num_stored: int) -> None:
        self.sample = sample
        self.slot = slot
        self.tables = tables
        self.computed = num_cached
        """Tokens whose keys and values are in the cache: steps that have ended."""
        self.scheduled = num_cached
        """The same, once all submitted steps have ended."""
        self.length = len(sample.tokens)
        """Tokens of the sample once all submitted steps have ended and drawn one where they draw."""
        self.num_stored = num_stored
        """Leading blocks that were offered to the prefix cache."""
        self.num_told = 0
        """Blocks of each table that the worker knows; none: it does not know the seat."""
        self.seated_length = len(sample.tokens)
        """Tokens after these were drawn in this seat: the worker knows the last one."""
        self.prompt_step = 0 if num_cached >= sample.prompt_length else None
        """The step that computes the prompt's last token; 0: found in the cache; None: not submitted yet."""
        self.loads_in = 0
        """The step whose copies fill the tables, so that they can be read from the next one on; 0: none does."""
        self.last_step = 0
        """The last submitted step that names this seat's slot and blocks."""

    @property
    def is_fully_scheduled(self) -> bool:
        """Whether nothing is left to submit: it ends with the steps in flight."""
        return self.length >= self.sample.length_limit

    def blocks_to_come(self, block_size: int) -> int:
        """Blocks of each group that it may still need; its last token's keys and values are never computed."""
        return max(0, -((1 - self.sample.length_limit) // block_size) - len(self.tables[0]))

    def load_in(self, step: int) -> None:
        """Copies of this step fill the tables."""
        self.loads_in = self.last_step = step
        if self.prompt_step == 0:
            self.prompt_step = step

    def has_prompt_before(self, step: int) -> bool:
        """Whether the prompt will have been computed when `step` starts."""
        return self.prompt_step is not None and self.prompt_step < step

    def check(self, in_flight: Sequence[Segment], block_size: int) -> None:
        """Prove the counts against the segments that are in flight for this seat. Raises AssertionError."""
        who = f"sample {self.sample.number}"
        flying, drawing = sum(s.num_tokens for s in in_flight), sum(s.samples_token for s in in_flight)
        assert self.sample.seat is self, f"{who} runs, but sits elsewhere"
        assert self.scheduled == self.computed + flying, (
            f"{who}: {self.scheduled} tokens scheduled, but {self.computed} computed and {flying} in flight"
        )
        assert self.length == len(self.sample.tokens) + drawing, (
            f"{who}: a length of {self.length}, but {len(self.sample.tokens)} tokens and {drawing} being drawn"
        )
        assert self.num_stored * block_size <= self.computed, f"{who}: {self.num_stored} blocks stored, not computed"
