"""Which sample computes how many tokens in the next step, in which blocks; and what a step's results change.

Continuous batching under one token budget. A step is `{sample: number of tokens}`: a prompt, a piece of it, one more
token and the way back after a preemption differ in that number alone. Rank (priority, then arrival) decides who goes
first, who waits, and who gives way. Refuses to know tensors, clocks, workers, and how many steps are in flight.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Collection, Mapping

from pagelet_engine.core.admission import Capacity
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
from pagelet_engine.core.sample import Rank, RequestInProgress, Sample, Seat
from pagelet_engine.core.slots import Slots
from pagelet_engine.core.step import Sampled, Segment, Step, TokenLogprobs
from pagelet_engine.core.step_draft import StepDraft

HEADROOM_BLOCKS = 2
"""A newcomer leaves this many blocks free for each running sample (and group), so that it is not preempted at once.

Measured with the lengths of ShareGPT in a pool that holds a 27th of them: 2 instead of 0 means 63 % fewer preemptions
and 16 % fewer tokens computed, for 1 % more steps; 4 would cost 7 % more steps.
"""


MAX_BROKEN_IN_A_ROW = 32


class BrokenModelError(Exception):
    """Nothing sound comes out any more; the message says what to look at."""


class Scheduler:
    """Decides steps from requests, and updates from results.

    `num_blocks` is what each of the `num_kv_groups` groups has. `model_digest` and `kv_dtype` enter the names of
    cached blocks.
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
        prefix_caching: bool = True,
        kv_events: bool = False,
        model_digest: str = "",
        kv_dtype: str = "",
    ) -> None:
        self._capacity = Capacity(max_model_len, num_blocks, block_size)
        self._block_size = block_size
        self._max_batched_tokens = max_batched_tokens
        self._max_queued = max_queued
        self._cache = KvCache(num_blocks, num_kv_groups, block_size, record_events=kv_events)
        self._prefixes = PrefixCache(self._cache, enabled=prefix_caching, model_digest=model_digest, kv_dtype=kv_dtype)
        self._slots = Slots(max_num_seqs)
        self._register = Register()
        self._running: list[Seat] = []  # by rank
        self._waiting: list[Sample] = []  # by rank
        self._in_flight: deque[tuple[Step, list[Seat]]] = deque()  # oldest first; one seat a segment
        self._last_step = 0
        self._preemptions = 0
        self._first_seated: list[Request] = []
        self._broken_in_a_row = 0

    @property
    def max_length(self) -> int:
        """Tokens of prompt and output that one sample can have: max_model_len, or less when the pool holds less."""
        return self._capacity.max_length

    @property
    def has_work(self) -> bool:
        """Whether a request is unfinished, or its end not told yet."""
        return len(self._register) > 0

    # ---- requests come and go --------------------------------------------------------------------------------------

    def add(self, request: Request) -> None:
        """Queue a request. Raises RequestRejected if it can never fit, its id is taken, or the queue is full."""
        self._capacity.judge(request)
        num_waiting = self._register.num_unfinished - self._num_running_requests()
        if num_waiting >= self._max_queued:
            raise RequestRejected(
                RejectReason.QUEUE_FULL,
                f"{num_waiting} requests are waiting and the queue holds {self._max_queued}; try again later",
            )
        entry = self._register.open(request, self.max_length, self._prefixes.root(request))
        for sample in entry.samples:
            insort(self._waiting, sample, key=_rank_of_sample)

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
        """What has changed since the last call."""
        return self._register.take_news()

    def take_first_seated(self) -> list[Request]:
        """The requests whose wait has ended since the last call."""
        seated, self._first_seated = self._first_seated, []
        return seated

    # ---- one step --------------------------------------------------------------------------------------------------

    def schedule(self) -> Step | None:
        """The next step; None if nothing can be computed before a step in flight has ended."""
        draft = StepDraft(self._last_step + 1, self._max_batched_tokens)
        self._continue_running(draft)
        self._admit_waiting(draft)
        if not draft.seats:
            return None
        step = draft.finish()
        self._last_step = step.number
        self._in_flight.append((step, draft.seats))
        return step

    def update(self, results: Mapping[int, Sampled]) -> None:
        """The oldest step in flight has ended with these results, by sample number."""
        step, seats = self._in_flight.popleft()
        self._cache.end_step(step.number)
        self._slots.end_step(step.number)
        for segment, seat in zip(step.segments, seats, strict=True):
            result = results[segment.sample]
            if result.prompt_logprobs:
                seat.sample.request.note_prompt_logprobs(segment.start, result.prompt_logprobs)
            if seat.sample.seat is seat:  # else it has finished or was preempted since
                self._receive(seat, segment, result)

    # ---- who computes ----------------------------------------------------------------------------------------------

    def _continue_running(self, draft: StepDraft) -> None:
        """Give running samples their tokens, in rank order; who is short of blocks waits or loses its seat."""
        running, block_size = self._running, self._block_size
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
            if self._cache.has_room(num_new) or self._make_room(num_new, seat):
                draft.append(seat, num_tokens, self._cache.grow(seat.tables, num_new))

    def _make_room(self, num_new: int, seat: Seat) -> bool:
        """Preempt from the end of the line until there is room; False if the seat must wait, or was the end itself."""
        while not self._cache.has_room(num_new):
            last = self._running[-1]
            if self._cache.will_have_room(num_new) or last.is_fully_scheduled:
                return False  # steps in flight give back enough, or are the last ones of the last in line
            self._preempt(last)
            if last is seat:
                return False
        return True

    def _preempt(self, seat: Seat) -> None:
        """Take the seat away. What the sample has said is computed again when it comes back, in its old place."""
        self._preemptions += 1
        self._unseat(seat)
        seat.sample.preempted = True
        insort(self._waiting, seat.sample, key=_rank_of_sample)

    def _admit_waiting(self, draft: StepDraft) -> None:
        """Give seats to waiting samples, in rank order, until one does not fit.

        Who waits for blocks that another computes right now is passed, but not at its cost: slot and blocks are kept.
        """
        position = kept_slots = kept_blocks = 0
        while position < len(self._waiting) and draft.budget and len(self._slots) > kept_slots:
            sample = self._waiting[position]
            siblings = [sibling.seat for sibling in sample.request.samples if sibling.seat]
            source = next((seat for seat in siblings if seat.has_prompt_before(draft.number)), None)
            if siblings and not source:  # the prompt is being computed right now: one step later it can be shared
                if sample.preempted:
                    return  # nobody passes a preempted sample
                position += 1
                continue
            # A preempted sample does not wait: everybody would have to.
            if not source and not sample.preempted and self._prefixes.is_worth_a_wait(sample):
                position += 1
                kept_slots += 1
                kept_blocks += self._cache.blocks_for(len(sample.tokens))
                continue
            seat = self._find_seat(sample, source, draft, kept_blocks)
            if not seat:
                return
            del self._waiting[position]
            insort(self._running, seat, key=_rank_of_seat)
            updates = self._cache.updates(seat.tables)
            draft.append(seat, min(seat.length - seat.scheduled, draft.budget), updates)

    def _find_seat(self, sample: Sample, source: Seat | None, draft: StepDraft, kept_blocks: int) -> Seat | None:
        """Seat the sample with blocks for all it has said, sharing what is computed; None if there is no room beside
        the headroom and what is kept for others."""
        spare = HEADROOM_BLOCKS * len(self._running) + kept_blocks
        if not self._cache.has_room(spare + 1):
            return None  # at least one block is its own: nothing needs to be looked up
        num_found, shared = self._prefixes.find(sample)
        num_cached, num_stored = num_found, num_found // self._block_size
        # The prompt's last token is computed again: its logits are this sample's own.
        if source and sample.prompt_length - 1 > num_found:
            num_cached, shared = sample.prompt_length - 1, source.tables
            num_stored = min(source.num_stored, num_cached // self._block_size)
        opened = self._cache.open(shared, num_cached, len(sample.tokens), spare, draft.number)
        if not opened:
            return None
        tables, copies = opened
        if not source and not sample.preempted:
            self._prefixes.count(sample, num_found)
        if sample.request.cached_tokens is None:
            sample.request.cached_tokens = num_found
            self._first_seated.append(sample.request.request)
        sample.preempted = False
        sample.seat = Seat(sample, self._slots.take(), tables, num_cached, num_stored)
        self._prefixes.begin(sample.seat)
        draft.start(sample.seat, copies)
        return sample.seat

    # ---- what a result changes -------------------------------------------------------------------------------------

    def _receive(self, seat: Seat, segment: Segment, result: Sampled) -> None:
        """What one segment of an ended step means for the sample that still sits where it sat."""
        sample = seat.sample
        end = segment.start + segment.num_tokens
        kept = 0
        if segment.samples_token:
            if result.broken:
                self._note_broken()
                self._end_all(sample.request, FinishReason.BROKEN)
                return
            self._broken_in_a_row = 0
            kept = sample.extend(result.tokens)
            seat.length += kept - 1
        seat.computed = min(end, len(sample.tokens) - 1)
        if seat.computed // self._block_size > seat.num_stored:
            self._prefixes.store(seat)
        if sample.finish_reason:
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

    def _note_broken(self) -> None:
        """One broken answer is one request's bad luck; nothing but broken ones is an engine that serves nobody."""
        self._broken_in_a_row += 1
        if self._broken_in_a_row >= MAX_BROKEN_IN_A_ROW:
            raise BrokenModelError(
                f"the model computed NaN or infinity for {self._broken_in_a_row} samples in a row: the weights or the "
                "device are broken, or numbers leave the range of the dtype: where that is float16, use bfloat16"
            )

    def _roll_back(self, seat: Seat, end: int) -> None:
        """Not the one token that was counted on was drawn: what is scheduled is what is computed."""
        if seat.scheduled > end:
            self._preempt(seat)  # steps in flight go on from a history that is not; their results are for an old seat
        else:
            seat.scheduled = seat.computed

    def _end_all(self, entry: RequestInProgress, reason: FinishReason, indices: Collection[int] = ()) -> None:
        for sample in entry.samples:
            if not sample.finish_reason and (not indices or sample.index in indices):
                sample.finish_reason = reason
                self._leave(sample)

    def _leave(self, sample: Sample, tokens: tuple[int, ...] = (), logprobs: tuple[TokenLogprobs, ...] = ()) -> None:
        """The sample has finished: nothing of it stays but what steps in flight still name."""
        if sample.seat:
            self._unseat(sample.seat)
        else:
            del self._waiting[bisect_left(self._waiting, sample.rank, key=_rank_of_sample)]
        update = SampleUpdate(sample.index, tokens, logprobs, sample.finish_reason, sample.stop_token)
        self._register.tell(sample, update)

    def _unseat(self, seat: Seat) -> None:
        self._prefixes.leave(seat)
        self._cache.close(seat.tables, seat.last_step)
        self._slots.release(seat.slot, seat.last_step)
        seat.sample.seat = None
        del self._running[bisect_left(self._running, seat.sample.rank, key=_rank_of_seat)]

    # ---- what can be seen from outside -----------------------------------------------------------------------------

    def load(self) -> LoadSnapshot:
        running = self._num_running_requests()
        return LoadSnapshot(
            step=self._last_step,
            running=running,
            waiting=self._register.num_unfinished - running,
            blocks_total=self._cache.blocks_total,
            blocks_in_use=self._cache.blocks_in_use,
            blocks_cached=self._cache.blocks_cached,
            prefix_queries=self._prefixes.queries,
            prefix_hits=self._prefixes.hits,
            preemptions=self._preemptions,
        )

    def take_kv_events(self) -> list[KvEvent]:
        """Changes of the prefix cache since the last call; always empty unless they are recorded."""
        return self._cache.take_events()

    def kv_snapshot(self) -> list[KvEvent]:
        """The whole prefix cache as events."""
        return self._cache.snapshot()

    def check(self) -> None:
        """Prove that nothing is lost, doubled or used too early. Raises AssertionError with a sentence."""
        flying = [pair for step, seats in self._in_flight for pair in zip(step.segments, seats, strict=True)]
        self._cache.check(
            held=[seat.tables for seat in self._running],
            named=[seat.tables for _, seat in flying],
            copies=[copy for step, _ in self._in_flight for copy in step.copies],
        )
        self._slots.check([seat.slot for seat in self._running])
        self._prefixes.check(self._running)
        lines = [seat.sample for seat in self._running], self._waiting
        for line in lines:
            assert line == sorted(line, key=_rank_of_sample), "a line is out of order"
        unfinished = sorted(sample.number for sample in self._register.samples())
        standing = sorted(sample.number for line in lines for sample in line)
        assert standing == unfinished, f"samples {unfinished} have not finished, but {standing} run or wait"
        for seat in self._running:
            seat.check([segment for segment, of in flying if of is seat], self._block_size)

    def _num_running_requests(self) -> int:
        return len({seat.sample.request.arrival for seat in self._running})


def _rank_of_sample(sample: Sample) -> Rank:
    return sample.rank


def _rank_of_seat(seat: Seat) -> Rank:
    return seat.sample.rank
