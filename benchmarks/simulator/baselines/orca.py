"""Orca (OSDI '22) as the PagedAttention paper pictures it: decisions at every iteration, and memory reserved in one
piece for a whole answer.

Requests are admitted in the order in which they came, as long as the buddy allocator has an area for the next one; a
prompt is computed in one iteration, together with everybody else's next token. How much is reserved makes the three
variants: Max, Pow2 and Oracle.
"""

from collections import deque
from collections.abc import Callable, Mapping

from pagelet_engine.core.load import LoadSnapshot
from pagelet_engine.core.news import News
from pagelet_engine.core.request import Request
from pagelet_engine.core.step import Sampled, Segment, Step
from simulator.baselines.answers import Answer, load
from simulator.baselines.buddy import BuddyAllocator, power_of_two

Reserve = Callable[[Request], int]
"""Slots for a request's prompt and output, before the allocator rounds them up."""


def reserve_max(max_length: int) -> Reserve:
    """As long as the model allows."""
    return lambda request: max_length


def reserve_power_of_two(max_length: int) -> Reserve:
    """The prompt, and for the output the next power of two: at most twice what it will need."""

    def reserve(request: Request) -> int:
        return min(len(request.prompt) + power_of_two(_output(request)), max_length)

    return reserve


def reserve_exactly(request: Request) -> int:
    """What will be needed, as only an oracle knows."""
    return len(request.prompt) + _output(request)


def _output(request: Request) -> int:
    assert request.sampling.max_tokens, "a simulated request says how long its output is"
    return request.sampling.max_tokens


class Orca:
    """`num_slots` token slots, and at most `max_num_seqs` requests at once."""

    def __init__(self, *, num_slots: int, max_num_seqs: int, reserve: Reserve) -> None:
        self._areas = BuddyAllocator(num_slots)
        self._max_num_seqs = max_num_seqs
        self._reserve = reserve
        self._waiting: deque[Answer] = deque()
        self._running: dict[int, tuple[Answer, tuple[int, int]]] = {}  # number → it and its area
        self._requests = 0
        self._steps = 0
        self._news = News()

    def add(self, request: Request) -> None:
        self._requests += 1
        self._waiting.append(Answer(request, self._requests))

    def schedule(self) -> Step | None:
        while self._waiting and len(self._running) < self._max_num_seqs:
            area = self._areas.take(self._reserve(self._waiting[0].request))
            if not area:
                break
            answer = self._waiting.popleft()
            self._running[answer.number] = answer, area
        if not self._running:
            return None
        self._steps += 1
        segments = [
            Segment(answer.number, 0, answer.computed, answer.length - answer.computed, ())
            for answer, _ in self._running.values()
        ]
        return Step(self._steps, (), (), tuple(segments))

    def update(self, results: Mapping[int, Sampled]) -> None:
        for number, result in results.items():
            answer, area = self._running[number]
            answer.computed = answer.length
            answer.tokens += result.tokens
            self._news.updates.append(answer.update(result.tokens))
            if answer.is_finished:
                self._areas.release(area)
                del self._running[number]

    def take_news(self) -> News:
        news, self._news = self._news, News()
        return news

    def load(self) -> LoadSnapshot:
        areas = self._areas
        return load(self._steps, len(self._running), len(self._waiting), areas.num_slots, areas.slots_in_use)

    @property
    def live_tokens(self) -> int:
        """With keys and values once the step in flight has ended."""
        return sum(answer.length for answer, _ in self._running.values())
