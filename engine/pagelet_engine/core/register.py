"""The requests in progress: who is here, until when, and what they have not been told yet.

Refuses to know blocks, slots and steps.
"""

from heapq import heappop, heappush
from itertools import count

from pagelet_engine.core.news import News
from pagelet_engine.core.request import RejectReason, Request, RequestRejected, RequestUpdate, SampleUpdate
from pagelet_engine.core.sample import RequestInProgress, Sample


class Register:
    """A request is here from open() until the update that ends it has been taken."""

    def __init__(self) -> None:
        self._entries: dict[str, RequestInProgress] = {}
        self._news = News()
        self._told: dict[RequestInProgress, list[SampleUpdate]] = {}  # its updates, in the order in which it happened
        self._deadlines: list[tuple[float, int, str]] = []  # a heap of (deadline, arrival, id)
        self._arrivals = count()
        self._sample_numbers = count()
        self.num_unfinished = 0

    def __len__(self) -> int:
        return len(self._entries)

    def judge(self, request: Request) -> None:
        """Raises RequestRejected if its id is taken."""
        if request.id in self._entries:
            raise RequestRejected(RejectReason.DUPLICATE, f"a request with the id {request.id!r} is in progress")

    def open(self, request: Request, max_length: int, root: bytes, tenant: str) -> RequestInProgress:
        """Write a request that judge() has let pass in, and for whom its tokens are counted."""
        entry = RequestInProgress(request, next(self._arrivals), self._sample_numbers, max_length, root, tenant)
        self._entries[request.id] = entry
        self.num_unfinished += 1
        if request.deadline_s is not None:
            heappush(self._deadlines, (request.deadline_s, entry.arrival, request.id))
        return entry

    def find(self, request_id: str) -> RequestInProgress | None:
        return self._entries.get(request_id)

    def take_expired(self, now_s: float) -> list[RequestInProgress]:
        """The requests whose deadline has come, each once."""
        expired = []
        while self._deadlines and self._deadlines[0][0] <= now_s:
            _, arrival, request_id = heappop(self._deadlines)
            entry = self._entries.get(request_id)
            if entry and entry.arrival == arrival:  # else it has finished, and the id may be another's
                expired.append(entry)
        return expired

    def tell(self, sample: Sample, update: SampleUpdate) -> None:
        """Note what is new about a sample; if that is its end, the register knows."""
        entry = sample.request
        if update.finish_reason:
            entry.unfinished -= 1
            self.num_unfinished -= not entry.unfinished
        self._told.setdefault(entry, []).append(update)

    def tell_drawn(self, sample: Sample, token: int) -> None:
        """Note that the sample has one more token, and that this is all: neither its first nor its last."""
        self._news.drawn_by.append(sample)
        self._news.drawn.append(token)

    def take_news(self) -> News:
        """What is new since the last call; requests that have finished leave."""
        news, self._news = self._news, News()
        told, self._told = self._told, {}
        news.updates.extend(self._update(entry, tuple(samples)) for entry, samples in told.items())
        return news

    def _update(self, entry: RequestInProgress, samples: tuple[SampleUpdate, ...]) -> RequestUpdate:
        report = None
        if not entry.reported and any(sample.tokens for sample in samples):
            report = entry.prompt_report()
            entry.reported = True
        if not entry.unfinished:
            del self._entries[entry.request.id]
        return RequestUpdate(entry.request.id, samples, report, not entry.unfinished)

    def samples(self) -> list[Sample]:
        """All samples that have not finished."""
        return [sample for entry in self._entries.values() for sample in entry.samples if sample.finish_reason is None]
