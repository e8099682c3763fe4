"""Which sample computes how many tokens in the next step, in which blocks; and what a step's results change.

Continuous batching under one token budget. A step is `{sample: number of tokens}`: a prompt, a piece of it, one more
token and the way back after a preemption differ in that number alone. Rank (priority, then arrival) decides who goes
first, who waits, and who gives way. Refuses to know tensors, clocks, workers, and how many steps are in flight.
"""

from collections import deque
from collections.abc import Collection, Mapping

from pagelet_engine.core.admission import Capacity
from pagelet_engine.core.costs import Costs
from pagelet_engine.core.fair_share import OUTPUT_WEIGHT, FairShare
from pagelet_engine.core.host_tier import HostTier
from pagelet_engine.core.kv_cache import KvCache
from pagelet_engine.core.kv_events import KvEvent
from pagelet_engine.core.load import LoadSnapshot
from pagelet_engine.core.news import News
from pagelet_engine.core.prefix_cache import PrefixCache
from pagelet_engine.core.register import Register
from pagelet_engine.core.request import (
    FinishReason,
    RejectReason,
    Request,
    RequestRejected,
    SampleUpdate,
)
from pagelet_engine.core.sample import RequestInProgress, Sample, Seat
from pagelet_engine.core.seating import Seating
from pagelet_engine.core.self_test import SELF_TEST_ID, SelfTest
from pagelet_engine.core.slots import Slots
from pagelet_engine.core.step import NoToken, Sampled, Segment, Step, TokenLogprobs
from pagelet_engine.core.step_draft import StepDraft
from pagelet_engine.core.swap import Swap

_NO_TOKEN = {NoToken.NON_FINITE: FinishReason.NON_FINITE, NoToken.NOTHING_LEFT: FinishReason.NOTHING_LEFT}


class Scheduler:
    """Decides steps from requests, and updates from results.

    `num_blocks` is what each of the `num_kv_groups` groups has on the device, `num_host_blocks` in host memory: with
    some there, `costs` decide what is copied to them. `model_digest` and `kv_dtype` enter the names of cached blocks.
    `self_test_token` is the prompt that the engine tries by itself when rows are not finite.
    """

    def __init__(
        self,
        *,
        num_blocks: int,
        block_size: int,
        max_model_len: int,
        max_batched_tokens: int,
        max_num_seqs: int,
        max_queued: int,
        num_kv_groups: int = 1,
        num_host_blocks: int = 0,
        costs: Costs | None = None,
        fair_share: bool = True,
        prefix_caching: bool = True,
        kv_events: bool = False,
        model_digest: str = "",
        kv_dtype: str = "",
        self_test_token: int = 0,
    ) -> None:
        self._capacity = Capacity(max_model_len, num_blocks, block_size)
        self._block_size = block_size
        self._max_batched_tokens = max_batched_tokens
        self._max_queued = max_queued
        self._cache = KvCache(num_blocks, num_kv_groups, block_size, record_events=kv_events)
        self._prefixes = PrefixCache(self._cache, enabled=prefix_caching, model_digest=model_digest, kv_dtype=kv_dtype)
        self._costs = costs
        self._host = HostTier(self._cache, num_host_blocks)
        self._swap = Swap(self._cache, self._prefixes, self._host, costs) if costs and num_host_blocks else None
        self._slots = Slots(max_num_seqs)
        self._shares = FairShare(enabled=fair_share)
        self._seating = Seating(self._cache, self._prefixes, self._slots, self._swap, self._shares)
        self._register = Register()
        self._in_flight: deque[tuple[Step, list[Seat]]] = deque()  # oldest first; one seat a segment
        self._last_step = 0
        self._self_test = SelfTest(self_test_token)

    @property
    def max_length(self) -> int:
        """Tokens of prompt and output that one sample can have: max_model_len, or less when the pool holds less."""
        return self._capacity.max_length

    @property
    def has_work(self) -> bool:
        """Whether a request is unfinished, or its end not told yet."""
        return len(self._register) > 0

    @property
    def num_waiting(self) -> int:
        """Requests without a seat, the preempted among them."""
        return self._register.num_unfinished - self._seating.num_requests

    def num_before(self, request: Request) -> int:
        """Waiting requests that would have their turn before this one, about."""
        return self._seating.waiting.num_before(request.priority, self._shares.of(request.tenant))

    def least_computing_s(self, request: Request) -> float:
        """Seconds that the request's own tokens take, with all the room it wants."""
        if not self._costs:
            return 0.0
        return len(request.prompt) * self._costs.token_s + request.least_output * self._costs.step_s

    # ---- requests come and go --------------------------------------------------------------------------------------

    def judge(self, request: Request) -> None:
        """Raises RequestRejected if the request can never fit, its id is taken, or the queue is full."""
        self._capacity.judge(request)
        if (num_waiting := self.num_waiting) >= self._max_queued:
            raise RequestRejected(
                RejectReason.QUEUE_FULL,
                f"{num_waiting} requests are waiting and the queue holds {self._max_queued}; try again later",
            )
        self._register.judge(request)

    def add(self, request: Request) -> None:
        """Queue a request. Raises RequestRejected, as judge() does."""
        self.judge(request)
        self._enter(request)

    def _enter(self, request: Request) -> None:
        tenant = self._shares.of(request.tenant)
        entry = self._register.open(request, self.max_length, self._prefixes.root(request), tenant)
        for sample in entry.samples:
            self._seating.enter(sample)

    def abort(self, request_id: str, samples: Collection[int] = ()) -> None:
        """End these samples (none named: all of them), wherever they are; unknown and finished ones are left alone."""
        entry = self._register.find(request_id)
        if entry:
            self._end_all(entry, FinishReason.ABORT, samples)

    def expire(self, now_s: float) -> None:
        """End every request whose deadline has come."""
        for entry in self._register.take_expired(now_s):
            self._end_all(entry, FinishReason.DEADLINE)

    def take_news(self) -> News:
        """What has changed since the last call, but for requests of the engine's own."""
        news = self._register.take_news()
        if self._self_test.num_runs:
            news.updates[:] = [update for update in news.updates if update.request_id != SELF_TEST_ID]
        return news

    def take_first_seated(self) -> list[Request]:
        """The requests whose wait has ended since the last call."""
        seated, self._seating.first_seated = self._seating.first_seated, []
        return seated

    # ---- one step --------------------------------------------------------------------------------------------------

    def schedule(self) -> Step | None:
        """The next step; None if nothing can be computed before a step in flight has ended."""
        draft = StepDraft(self._last_step + 1, self._max_batched_tokens)
        self._seating.make_way(draft)
        self._continue_running(draft)
        self._seating.admit(draft)
        if draft.is_empty:
            return None
        if self._swap:
            self._swap.keep_what_leaves(draft)
        step = draft.finish()
        self._last_step = step.number
        self._in_flight.append((step, draft.seats))
        return step

    def note_duration(self, step: Step, seconds: float) -> None:
        """What the step that ends now has taken."""
        if self._costs and step.segments:
            self._costs.note(step.num_tokens - len(step.segments), step.num_moved, seconds)

    def update(self, results: Mapping[int, Sampled]) -> None:
        """The oldest step in flight has ended with these results, by sample number.

        Raises NonFiniteModelError when nothing but NaN and infinity comes out, for the engine's own prompt, too.
        """
        step, seats = self._in_flight.popleft()
        self._cache.end_step(step.number)
        self._host.end_step(step.number)
        self._slots.end_step(step.number)
        for segment, seat in zip(step.segments, seats, strict=True):
            result = results[segment.sample]
            if result.prompt_logprobs:
                seat.sample.request.note_prompt_logprobs(segment.start, result.prompt_logprobs)
            if seat.sample.seat is seat:  # else it has finished or was preempted since
                self._receive(seat, segment, result)
        if self._self_test.is_due:
            self._enter(self._self_test.begin())

    # ---- who computes ----------------------------------------------------------------------------------------------

    def _continue_running(self, draft: StepDraft) -> None:
        """Give running samples their tokens, in rank order; who is short of blocks waits or loses its seat."""
        running, block_size = self._seating.running, self._block_size
        position = 0
        while position < len(running) and draft.budget:
            seat = running[position]
            position += 1
            if seat.is_fully_scheduled:
                continue
            num_tokens = seat.length - seat.scheduled
            if num_tokens > 1:
                # One token for each sample behind comes before a chunk for this one: no stream stalls for another's
                # prompt.
                behind = len(running) - position
                num_tokens = min(num_tokens, max(1, draft.budget - behind))
            if seat.scheduled + num_tokens <= len(seat.tables[0]) * block_size:
                draft.append(seat, num_tokens)
                continue
            num_new = self._cache.blocks_for(seat.scheduled + num_tokens) - len(seat.tables[0])
            if self._cache.has_room(num_new) or self._seating.make_room(num_new, seat, draft):
                self._cache.grow(seat.tables, num_new)
                draft.append(seat, num_tokens)

    # ---- what a result changes -------------------------------------------------------------------------------------

    def _receive(self, seat: Seat, segment: Segment, result: Sampled) -> None:
        """What one segment of an ended step means for the sample that still sits where it sat."""
        sample = seat.sample
        end = segment.start + segment.num_tokens
        kept = 0
        if segment.samples_token:
            if result.no_token is NoToken.NON_FINITE:
                self._self_test.note_non_finite(sample.request.request)
            else:
                self._self_test.num_non_finite = 0
            if result.no_token:
                self._end_all(sample.request, _NO_TOKEN[result.no_token])
                return
            kept = sample.extend(result.tokens)
            seat.length += kept - 1
            self._shares.charge(sample.tenant, OUTPUT_WEIGHT * kept)
        seat.computed = min(end, len(sample.tokens) - 1)
        if seat.computed // self._block_size > seat.num_stored:
            self._prefixes.store(seat)
        if sample.finish_reason:
            self._self_test.note_end(sample.request.request)
            self._leave(sample, result.tokens[:kept], result.logprobs[:kept])
            return
        is_first = len(sample.tokens) - kept == sample.prompt_length
        if kept == 1 and not is_first and not result.logprobs:
            self._register.tell_drawn(sample, result.tokens[0])
        elif kept:
            number = sample.number if is_first else None
            told = SampleUpdate(sample.index, result.tokens[:kept], result.logprobs[:kept], number=number)
            self._register.tell(sample, told)
        if segment.samples_token and kept != 1:
            self._roll_back(seat, end)

    def _roll_back(self, seat: Seat, end: int) -> None:
        """Not the one token that was counted on was drawn: what is scheduled is what is computed."""
        if seat.scheduled > end:
            self._seating.put_back(
                seat
            )  # steps in flight go on from a history that is not; their results are for an old seat
        else:
            seat.scheduled = seat.computed

    def _end_all(self, entry: RequestInProgress, reason: FinishReason, indices: Collection[int] = ()) -> None:
        for sample in entry.samples:
            if not sample.finish_reason and (not indices or sample.index in indices):
                sample.finish_reason = reason
                self._leave(sample)

    def _leave(self, sample: Sample, tokens: tuple[int, ...] = (), logprobs: tuple[TokenLogprobs, ...] = ()) -> None:
        """The sample has finished: nothing of it stays but what steps in flight still name."""
        self._seating.leave(sample)
        update = SampleUpdate(sample.index, tokens, logprobs, sample.finish_reason, sample.stop_token)
        self._register.tell(sample, update)

    # ---- what can be seen from outside -----------------------------------------------------------------------------

    def load(self) -> LoadSnapshot:
        device, host = self._cache.occupancy, self._host.occupancy
        return LoadSnapshot(
            step=self._last_step,
            running=self._seating.num_requests,
            waiting=self.num_waiting,
            blocks_total=device.total,
            blocks_in_use=device.in_use,
            blocks_cached=device.cached,
            prefix_queries=self._prefixes.queries,
            prefix_hits=self._prefixes.hits,
            preemptions=self._seating.preemptions,
            host_blocks_total=host.total,
            host_blocks_in_use=host.in_use,
            host_blocks_cached=host.cached,
            blocks_saved=self._host.saved,
            blocks_loaded=self._host.loaded,
        )

    def take_kv_events(self) -> list[KvEvent]:
        """Changes of the prefix cache since the last call; always empty unless they are recorded."""
        return self._cache.take_events()

    def kv_snapshot(self) -> list[KvEvent]:
        """The whole prefix cache as events."""
        return self._cache.snapshot()

    def check(self) -> None:
        """Prove that nothing is lost, doubled or used too early. Raises AssertionError with a sentence."""
        running, waiting = self._seating.running, list(self._seating.waiting)
        flying = [pair for step, seats in self._in_flight for pair in zip(step.segments, seats, strict=True)]
        self._cache.check(
            held=[seat.tables for seat in running],
            named=[seat.tables for _, seat in flying],
            copies=[copy for step, _ in self._in_flight for copy in step.copies],
        )
        self._host.check(
            held=[sample.saved for sample in waiting if sample.saved],
            copies=[copy for step, _ in self._in_flight for copy in step.copies],
        )
        self._seating.check()
        unfinished = sorted(sample.number for sample in self._register.samples())
        standing = sorted(sample.number for sample in (*(seat.sample for seat in running), *waiting))
        assert standing == unfinished, f"samples {unfinished} have not finished, but {standing} run or wait"
        for seat in running:
            seat.check([segment for segment, of in flying if of is seat], self._block_size)
