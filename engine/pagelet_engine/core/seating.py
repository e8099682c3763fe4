"""Who sits, who waits, and who gives way: slots and blocks for samples, by rank.

Rank is priority, then what the sample's tenant had been served when it was first seated, then arrival. Whoever ranks
lowest gives way when blocks run out. Refuses to know how many tokens a seat computes, and what comes of it.
"""

from bisect import bisect_left, insort
from collections import Counter

from pagelet_engine.core.fair_share import PROMPT_WEIGHT, FairShare
from pagelet_engine.core.kv_cache import KvCache
from pagelet_engine.core.prefix_cache import PrefixCache
from pagelet_engine.core.request import Request
from pagelet_engine.core.sample import Rank, Sample, Seat
from pagelet_engine.core.slots import Slots
from pagelet_engine.core.step_draft import StepDraft
from pagelet_engine.core.swap import Swap
from pagelet_engine.core.victims import choose_victim, is_protected
from pagelet_engine.core.waiting_line import WaitingLine

HEADROOM_BLOCKS = 2
"""A newcomer leaves so many blocks free for each running sample (and group) that may still need them: it would be the
first to give way.

Measured with 0, 1, 2 and 3 (benchmarks/simulator, a queue that does not empty): with lengths of ShareGPT 1.81, 1.99,
2.00, 1.97 requests a second, 44, 15, 6 and 2 % of the tokens computed twice; with Alpaca's 62.1, 62.8, 60.4, 58.5 and
8, 0, 0, 0 %.
"""


class Seating:
    """`slots` and blocks of `cache` for all samples that have not finished."""

    def __init__(
        self, cache: KvCache, prefixes: PrefixCache, slots: Slots, swap: Swap | None, shares: FairShare
    ) -> None:
        self.running: list[Seat] = []
        """By rank."""
        self.waiting = WaitingLine(shares)
        self.preemptions = 0
        self.first_seated: list[Request] = []
        """Requests whose wait has ended; whoever takes note empties it."""
        self._cache, self._prefixes, self._slots, self._swap, self._shares = cache, prefixes, slots, swap, shares

    @property
    def num_requests(self) -> int:
        """With at least one sample seated."""
        return len({seat.sample.request.arrival for seat in self.running})

    def enter(self, sample: Sample) -> None:
        """A new sample stands in line."""
        self._shares.enter(sample.tenant)
        self.waiting.add(sample)

    def leave(self, sample: Sample) -> None:
        """A sample has finished: nothing of it stays but what steps in flight still name."""
        if sample.seat:
            self._unseat(sample.seat)
        else:
            self.waiting.remove(sample)
            if self._swap:
                self._swap.let_go(sample)
        self._shares.leave(sample.tenant)

    def put_back(self, seat: Seat, *, keeps_place: bool = True) -> None:
        """Take the seat away. The sample waits again: in its old place, or where its tenant's samples stand now."""
        self.preemptions += 1
        self._unseat(seat)
        if not keeps_place:
            seat.sample.rank = self.waiting.rank(seat.sample)
        seat.sample.preempted = True
        self.waiting.put_back(seat.sample)

    # ---- who gets a seat -------------------------------------------------------------------------------------------

    def admit(self, draft: StepDraft) -> None:
        """Give seats to waiting samples, in their order, until one does not fit.

        Who waits for blocks that another computes right now is passed, but not at its cost: slot and blocks are kept.
        """
        kept_slots = kept_blocks = 0
        if not self.waiting or not self._slots or not self._cache.has_room(1):
            return
        spare = self._headroom()
        for sample in self.waiting.in_order():
            # At least one block would be its own: without room for that, nothing needs to be looked up.
            if not draft.budget or len(self._slots) <= kept_slots or not self._cache.has_room(spare + kept_blocks + 1):
                return
            siblings = [sibling.seat for sibling in sample.request.samples if sibling.seat]
            source = next((seat for seat in siblings if seat.has_prompt_before(draft.number)), None)
            if siblings and not source:  # the prompt is being computed right now: one step later it can be shared
                if sample.preempted:
                    return  # nobody passes a preempted sample
                continue
            # A preempted sample does not wait: everybody would have to.
            if not source and not sample.preempted and self._prefixes.is_worth_a_wait(sample):
                kept_slots += 1
                kept_blocks += self._cache.blocks_for(len(sample.tokens))
                continue
            seat = self._seat(sample, source, draft, spare + kept_blocks)
            if not seat:
                return
            spare += _headroom(seat, self._cache.block_size)

    def _seat(self, sample: Sample, source: Seat | None, draft: StepDraft, spare: int) -> Seat | None:
        """Give the sample a seat with blocks for all it has said, sharing what is computed and loading what the host
        has; None if there is no room for that and `spare` blocks more."""
        size = self._cache.block_size
        if sample.saved and sample.saved.step == draft.number:
            return None  # what it comes back with is not there yet
        num_found, shared = self._prefixes.find(sample)
        num_cached, on_host = self._swap.find(sample, num_found) if self._swap else (num_found, [])
        num_on_device, num_stored = num_found, num_found // size
        # The prompt's last token is computed again: its logits are this sample's own.
        if source and sample.prompt_length - 1 > num_cached:
            num_cached = num_on_device = sample.prompt_length - 1
            shared, on_host = source.tables, []
            num_stored = min(source.num_stored, num_cached // size)
        length = sample.length_limit if is_protected(sample) else len(sample.tokens)
        opened = self._cache.open(shared, num_on_device, length, spare, draft.number)
        if not opened:
            return None
        tables, copies = opened
        draft.copy(copies)
        self.waiting.remove(sample)
        self._count(sample, num_cached, is_new=not source and not sample.preempted)
        sample.preempted = False
        seat = sample.seat = Seat(sample, self._slots.take(), tables, num_cached, num_stored)
        insort(self.running, seat, key=_rank)
        if self._swap:
            if on_host:
                self._swap.load(on_host, tables, num_found // size, draft)
                seat.load_in(draft.number)
            self._swap.let_go(sample, draft.number)
        self._prefixes.begin(seat)
        if not seat.loads_in:
            draft.append(seat, min(seat.length - seat.scheduled, draft.budget))
        return seat

    def _count(self, sample: Sample, num_cached: int, is_new: bool) -> None:
        """The sample gets a seat, and of its tokens so many need not be computed."""
        if not sample.preempted:
            sample.rank = self.waiting.rank(sample)
        if is_new:
            self._prefixes.count(sample, num_cached)
        if sample.request.cached_tokens is None:
            sample.request.cached_tokens = num_cached
            self.first_seated.append(sample.request.request)
            self._shares.charge(sample.tenant, PROMPT_WEIGHT * (sample.prompt_length - num_cached))

    def _headroom(self) -> int:
        """Blocks that a newcomer leaves for those who run."""
        size = self._cache.block_size
        return sum(_headroom(seat, size) for seat in self.running)

    # ---- who gives way ---------------------------------------------------------------------------------------------

    def make_way(self, draft: StepDraft) -> None:
        """Preempt who should not run while the first in line waits: of a lower priority, or of a tenant that has more
        than its share while this one's has less."""
        sample = self.waiting.first()
        if sample is None or sample.preempted or not self.running:
            return
        yielding = self._yielding_tenants(sample)
        if not yielding and self.running[-1].sample.priority >= sample.priority:
            return
        while not (self._slots.will_have_one and self._cache.will_have_room(self._wanted(sample))):
            victim = choose_victim(
                (seat for seat in reversed(self.running) if _yields(seat, sample, yielding)), self._cache.block_size
            )
            if victim is None:
                return
            self._preempt(victim, draft, keeps_place=False)

    def make_room(self, num_new: int, seat: Seat, draft: StepDraft) -> bool:
        """Preempt from the end of the line until so many blocks are free; False if the seat must wait for them, or
        gave way itself."""
        while not self._cache.has_room(num_new):
            behind = self.running[bisect_left(self.running, seat.sample.rank, key=_rank) :]
            # Steps in flight give back enough, or are somebody's last ones.
            if self._cache.will_have_room(draft.promised + num_new) or any(s.is_fully_scheduled for s in behind):
                draft.promised += num_new
                return False
            victim = choose_victim(reversed(behind), self._cache.block_size)
            if victim is None:
                return False  # those behind have all that they will ever need, and end
            self._preempt(victim, draft)
            if victim is seat:
                return False
        return True

    def _preempt(self, seat: Seat, draft: StepDraft, *, keeps_place: bool = True) -> None:
        """What the sample has said comes back with it, from the host or computed again."""
        seat.sample.preemptions += 1
        if self._swap:
            self._swap.save(seat, draft)
        self.put_back(seat, keeps_place=keeps_place)

    def _wanted(self, sample: Sample) -> int:
        """Blocks, at most, that must be free for the sample to be seated."""
        return self._cache.blocks_for(len(sample.tokens)) + self._headroom()

    def _yielding_tenants(self, sample: Sample) -> set[str]:
        """Those that hold more than an equal share of the blocks that are held, and were served more, while this
        sample's tenant would not hold more than that with what it asks for."""
        if len(self._shares) < 2:
            return set()
        held: Counter[str] = Counter()
        for seat in self.running:
            held[seat.sample.tenant] += len(seat.tables[0])
        share = held.total() / len(self._shares)
        if held[sample.tenant] + self._cache.blocks_for(len(sample.tokens)) > share:
            return set()
        served = self._shares.served(sample.tenant)
        return {tenant for tenant, blocks in held.items() if blocks > share and self._shares.served(tenant) > served}

    # ---- both ------------------------------------------------------------------------------------------------------

    def _unseat(self, seat: Seat) -> None:
        self._prefixes.leave(seat)
        self._cache.close(seat.tables, seat.last_step)
        self._slots.release(seat.slot, seat.last_step)
        seat.sample.seat = None
        del self.running[bisect_left(self.running, seat.sample.rank, key=_rank)]

    def check(self) -> None:
        """Prove that everybody stands where their rank says. Raises AssertionError."""
        ranks = [seat.sample.rank for seat in self.running]
        assert ranks == sorted(ranks), "the running are out of order"
        self.waiting.check()
        self._slots.check([seat.slot for seat in self.running])
        self._prefixes.check(self.running)


def _headroom(seat: Seat, block_size: int) -> int:
    return min(HEADROOM_BLOCKS, seat.blocks_to_come(block_size))


def _yields(seat: Seat, sample: Sample, yielding_tenants: set[str]) -> bool:
    holder = seat.sample
    return holder.priority < sample.priority or (
        holder.priority == sample.priority and holder.tenant in yielding_tenants
    )


def _rank(seat: Seat) -> Rank:
    return seat.sample.rank
