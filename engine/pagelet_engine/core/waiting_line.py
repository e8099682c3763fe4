"""Samples without a seat, in the order in which they get one: by priority, then by what their tenant has been served,
then by arrival.

A sample's rank is settled when it gets its first seat, and stays: who is preempted stands again where it stood. Before
that, its tenant's count decides, as it is when the sample's turn comes.
"""

from bisect import insort
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import islice

from pagelet_engine.core.fair_share import FairShare
from pagelet_engine.core.sample import Rank, Sample

_Head = tuple[Rank, int, Sample, Iterator[Sample]]
"""The first of several in line: rank, number, the sample, those behind it."""


class WaitingLine:
    def __init__(self, shares: FairShare) -> None:
        self._shares = shares
        self._new: dict[tuple[int, str], dict[int, Sample]] = {}  # (priority, tenant) → number → sample, by arrival
        self._preempted: list[Sample] = []  # by rank

    def __bool__(self) -> bool:
        """Whether anybody stands in line."""
        return bool(self._preempted or self._new)

    def add(self, sample: Sample) -> None:
        """A sample that has just arrived."""
        line = self._new.setdefault((sample.priority, sample.tenant), {})
        line[sample.number] = sample

    def put_back(self, sample: Sample) -> None:
        """A sample that has lost its seat."""
        insort(self._preempted, sample, key=_rank_of)

    def remove(self, sample: Sample) -> None:
        if sample.preempted:
            self._preempted.remove(sample)
            return
        key = sample.priority, sample.tenant
        del self._new[key][sample.number]
        if not self._new[key]:
            del self._new[key]

    def in_order(self) -> Iterator[Sample]:
        """The samples in their order; the one that was given last may be removed meanwhile, and counts may change."""
        heads: list[_Head] = []
        for line in (self._preempted, *(line.values() for line in self._new.values())):
            self._push_next(heads, iter(list(line)))
        while heads:
            rank, _, sample, rest = heappop(heads)
            if not sample.preempted and (now := self.rank(sample)) > rank:
                heappush(heads, (now, sample.number, sample, rest))  # its tenant was served since
                continue
            yield sample
            self._push_next(heads, rest)

    def first(self) -> Sample | None:
        """Who goes next."""
        lines = (self._preempted, *(line.values() for line in self._new.values()))
        return min((sample for line in lines for sample in islice(line, 1)), key=self.rank, default=None)

    def num_before(self, priority: int, tenant: str) -> int:
        """Requests that go before one that arrives now: those of higher priority, the preempted of the same, and of
        each tenant as many as wait of this one."""
        higher = {
            s.request.arrival for (other, _), line in self._new.items() if other > priority for s in line.values()
        }
        higher |= {sample.request.arrival for sample in self._preempted if sample.priority >= priority}
        same = {who: line for (other, who), line in self._new.items() if other == priority}
        own = len({sample.request.arrival for sample in same.get(tenant, {}).values()})
        return len(higher) + own + sum(min(own, len(line)) for who, line in same.items() if who != tenant)

    def rank(self, sample: Sample) -> Rank:
        """The sample's place, were it seated now."""
        if sample.preempted:
            return sample.rank
        return (-sample.priority, self._shares.served(sample.tenant), sample.request.arrival, sample.index)

    def __iter__(self) -> Iterator[Sample]:
        """In no order."""
        yield from self._preempted
        for line in self._new.values():
            yield from line.values()

    def check(self) -> None:
        """Prove that every line is in order. Raises AssertionError."""
        ranks = [sample.rank for sample in self._preempted]
        assert ranks == sorted(ranks), "the preempted are out of order"
        for line in self._new.values():
            arrivals = [(sample.request.arrival, sample.index) for sample in line.values()]
            assert arrivals == sorted(arrivals), "a tenant's line is out of order"
            assert line, "a line without anybody in it"

    def _push_next(self, heads: list[_Head], rest: Iterator[Sample]) -> None:
        sample = next(rest, None)
        if sample is not None:
            heappush(heads, (self.rank(sample), sample.number, sample, rest))


def _rank_of(sample: Sample) -> Rank:
    return sample.rank
