"""What a tenant with 1,000 queued requests costs one that sends a request a second.

Waiting: the second's time to its first token, with fair share and without, beside the same requests joining a batch
that is kept as full by the first, with no queue. Sharing: Jain's index over the tokens served to two tenants in windows
of ten seconds, while both have requests that wait. `scheduler_for` is the one place that knows how fair share is
built.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import fmean, median, quantiles
from typing import Any

from pagelet_engine.core import scheduler as core
from pagelet_engine.core.load import LoadSnapshot
from pagelet_engine.core.news import News
from pagelet_engine.core.request import Request
from simulator.hardware import A100_40GB, MISTRAL_7B, CostModel
from simulator.measures import Journal, jain
from simulator.sessions import Setting
from simulator.simulation import Replay, System, simulate
from simulator.systems import BLOCK_SIZE, MAX_BATCHED_TOKENS, PagedKv
from simulator.traces import SEED, SHAREGPT, Arrival, backlog, endless, poisson

COST = CostModel(A100_40GB, MISTRAL_7B)
NUM_BLOCKS = Setting(COST, SHAREGPT, ()).num_blocks
SEATS = 64
MANY, FEW = "many", "few"
WINDOW_S = 10.0
_SECOND_COMES_S = 5.0


def scheduler_for(*, fair_share: bool, seats: int = SEATS) -> core.Scheduler:
    """Pagelet's scheduler, with fair share between tenants or without."""
    return core.Scheduler(
        fair_share=fair_share,
        num_blocks=NUM_BLOCKS,
        block_size=BLOCK_SIZE,
        max_model_len=SHAREGPT.max_length,
        max_batched_tokens=MAX_BATCHED_TOKENS,
        max_num_seqs=seats,
        max_queued=1_000_000,
        prefix_caching=False,
    )


class KeptBatch:
    """One tenant sends a request for each that ends, so that `seats` of its own run and none waits; another's
    arrivals come as they come."""

    def __init__(self, seats: int, others: list[Arrival]) -> None:
        self._seats = seats
        self._others = others
        self._next = 0
        self._source = endless(SHAREGPT, SEED + 1)
        self._taken = 0
        self._unfinished = 0

    def next_s(self) -> float | None:
        return self._others[self._next].arrived_s if self._next < len(self._others) else None

    def take(self, now_s: float, load: LoadSnapshot) -> Iterable[Request]:
        while (next_s := self.next_s()) is not None and next_s <= now_s:
            self._next += 1
            yield self._request(self._others[self._next - 1])
        if next_s is None:
            return  # it is over
        while self._unfinished < self._seats:
            self._unfinished += 1
            yield self._request(next(self._source)._replace(arrived_s=now_s, tenant=MANY))

    def observe(self, news: News, now_s: float) -> None:
        self._unfinished -= sum(update.finished and update.request_id.startswith(MANY) for update in news.updates)

    def _request(self, arrival: Arrival) -> Request:
        self._taken += 1
        return arrival.request(self._taken, f"{arrival.tenant} {self._taken}")


class Served:
    """Tokens served to each tenant in each window: a prompt with its first token, then one by one."""

    def __init__(self, arrivals: list[Arrival]) -> None:
        self._arrivals = arrivals
        self._windows: defaultdict[int, dict[str, int]] = defaultdict(lambda: {MANY: 0, FEW: 0})

    def observe(self, news: News, now_s: float) -> None:
        window = self._windows[int(now_s / WINDOW_S)]
        for sample in news.drawn_by:
            window[sample.request.request.tenant] += 1
        for update in news.updates:
            tokens = sum(len(sample.tokens) for sample in update.samples)
            tokens += update.prompt.tokens if update.prompt else 0
            window[self._arrivals[int(update.request_id)].tenant] += tokens

    def indices(self, from_s: float, until_s: float) -> list[float]:
        """Jain's, of each window that lies inside."""
        inside = range(-int(-from_s // WINDOW_S), int(until_s / WINDOW_S))
        return [jain(list(self._windows[window].values())) for window in inside]


@dataclass(frozen=True, slots=True)
class Found:
    name: str
    first_token_s: list[float]
    """Of the tenant with few requests."""
    fairness: list[float]
    """Jain's index, by window; empty where it was not measured."""


def run(quick: bool) -> list[Found]:
    duration_s, count = (20.0, 400) if quick else (100.0, 1000)
    few = [arrival._replace(tenant=FEW) for arrival in poisson(SHAREGPT, 1.0, duration_s)]
    many = [arrival._replace(tenant=MANY) for arrival in backlog(SHAREGPT, count, SEED + 1)]
    found = [Found("no queue, the batch as full", _waits(_kept(few)), [])]
    for fair_share in (True, False):
        name = f"a queue of {count}, fair share {'on' if fair_share else 'off'}"
        waits = _waits(simulate(_system(fair_share=fair_share), Replay(many + few), COST))
        found.append(Found(name, waits, _fairness(many, fair_share=fair_share)))
    return found


def _kept(few: list[Arrival]) -> Journal:
    arrivals = KeptBatch(SEATS, few)
    system = _system(fair_share=False, seats=2 * SEATS)  # nobody waits for a seat
    return simulate(system, arrivals, COST, observe=arrivals.observe)


def _fairness(many: list[Arrival], *, fair_share: bool) -> list[float]:
    """A second tenant comes with a third as many requests while the first one's wait."""
    later = backlog(SHAREGPT, len(many) // 3, SEED + 2)
    arrivals = many + [arrival._replace(tenant=FEW, arrived_s=_SECOND_COMES_S) for arrival in later]
    served = Served(arrivals)
    journal = simulate(_system(fair_share=fair_share), Replay(arrivals), COST, observe=served.observe)
    last_turns = [
        max(life.first_token_s for life in journal.finished if life.request.tenant == tenant) for tenant in (MANY, FEW)
    ]
    return served.indices(_SECOND_COMES_S, min(last_turns))


def _system(*, fair_share: bool, seats: int = SEATS) -> System:
    return System("Pagelet", scheduler_for(fair_share=fair_share, seats=seats), PagedKv(BLOCK_SIZE).use)


def _waits(journal: Journal) -> list[float]:
    return [life.first_token_s - life.arrived_s for life in journal.finished if life.request.tenant == FEW]


COLUMNS = ("a request a second beside", "TTFT p50, ms", "p99, ms", "Jain's index, mean", "least")


def rows(results: list[Found]) -> Iterator[tuple[str, ...]]:
    for found in results:
        waits, shares = found.first_token_s, found.fairness
        yield (
            found.name,
            f"{median(waits) * 1e3:,.0f}" if waits else "",
            f"{_p99(waits) * 1e3:,.0f}" if waits else "",
            f"{fmean(shares):.3f}" if shares else "",
            f"{min(shares):.3f}" if shares else "",
        )


def _p99(values: list[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[98]


def as_json(results: list[Found]) -> dict[str, Any]:
    return {
        found.name: {
            "first_token_p50_s": median(found.first_token_s),
            "first_token_p99_s": _p99(found.first_token_s),
            "jain": found.fairness,
        }
        for found in results
        if found.first_token_s
    }
