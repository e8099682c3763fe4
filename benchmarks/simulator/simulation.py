"""A scheduler at virtual time: what core/engine.py does with one step in flight, and a clock that a cost model moves.

Refuses to know how a scheduler decides. Nothing is computed: every token drawn is the same, and nobody reads it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pagelet_engine.core.load import LoadSnapshot
from pagelet_engine.core.news import News
from pagelet_engine.core.request import Request
from pagelet_engine.core.step import Sampled, Step
from simulator.hardware import CostModel, Work
from simulator.measures import Journal, KvUse
from simulator.traces import Arrival

_DREW = Sampled((0,))
_DREW_NOTHING = Sampled(())


class Scheduler(Protocol):
    """What is driven: Pagelet's own core/scheduler.py, or a baseline."""

    def add(self, request: Request) -> None: ...

    def schedule(self) -> Step | None: ...

    def update(self, results: Mapping[int, Sampled]) -> None: ...

    def take_news(self) -> News: ...

    def load(self) -> LoadSnapshot: ...


@dataclass(frozen=True, slots=True)
class System:
    """A scheduler, and how its KV cache is measured: once a step, after schedule() and before update()."""

    name: str
    scheduler: Scheduler
    kv_use: Callable[[Step, LoadSnapshot], KvUse]
    note_duration: Callable[[Step, float], None] = lambda step, seconds: None
    """Told what each step has taken."""


class Arrivals(Protocol):
    """Where requests come from."""

    def next_s(self) -> float | None:
        """When the next one comes, if time alone brings it."""
        ...

    def take(self, now_s: float, load: LoadSnapshot) -> Iterable[Request]:
        """Those that are there by now and have not been taken."""
        ...


class Replay:
    """Arrivals in a list, by time."""

    def __init__(self, arrivals: Sequence[Arrival]) -> None:
        self._arrivals = arrivals
        self._next = 0

    def next_s(self) -> float | None:
        return self._arrivals[self._next].arrived_s if self._next < len(self._arrivals) else None

    def take(self, now_s: float, load: LoadSnapshot) -> Iterable[Request]:
        while self._next < len(self._arrivals) and self._arrivals[self._next].arrived_s <= now_s:
            self._next += 1
            yield self._arrivals[self._next - 1].request(self._next - 1)


class Stuck(Exception):
    """Requests wait, no step comes, and nothing will change that."""


def simulate(
    system: System,
    arrivals: Arrivals,
    cost: CostModel,
    enough: Callable[[Journal], bool] = lambda journal: False,
    observe: Callable[[News, float], None] | None = None,
) -> Journal:
    """Run until every request has its answer, or the journal says that enough is known. Raises Stuck.

    `observe` is shown what each step brought, and when.
    """
    scheduler = system.scheduler
    journal = Journal()
    now_s = 0.0
    while not enough(journal):
        for request in arrivals.take(now_s, scheduler.load()):
            scheduler.add(request)
            journal.arrive(request, now_s)
        step = scheduler.schedule()
        if not step:
            next_s = arrivals.next_s()
            if next_s is None and journal.unfinished:
                raise Stuck(f"{system.name}: {len(journal.unfinished)} requests wait at {now_s:.1f} s; no step comes")
            if next_s is None:
                break
            now_s = max(now_s, next_s)
            continue
        step_s = cost.seconds(Work.of(step))
        load = scheduler.load()
        journal.step(step, step_s, load, system.kv_use(step, load))
        now_s += step_s
        system.note_duration(step, step_s)
        scheduler.update({s.sample: _DREW if s.samples_token else _DREW_NOTHING for s in step.segments})
        news = scheduler.take_news()
        journal.tell(news, now_s)
        if observe:
            observe(news, now_s)
    return journal
