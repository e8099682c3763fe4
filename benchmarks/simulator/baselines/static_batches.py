"""FasterTransformer behind a batching queue, as the PagedAttention paper has it: requests are scheduled whole.

When the device is idle, the requests that came first are a batch, as many as memory holds at the longest length. The
prompts are padded to the longest of them. The batch goes on until its last output is complete; who is done earlier is
computed on as padding, and all answers are given at the end.
"""

from collections import deque
from collections.abc import Mapping

from pagelet_engine.core.load import LoadSnapshot
from pagelet_engine.core.news import News
from pagelet_engine.core.request import Request
from pagelet_engine.core.step import Sampled, Segment, Step
from simulator.baselines.answers import Answer, load


class StaticBatches:
    """`num_slots` token slots; every request of a batch has `max_length` of them."""

    def __init__(self, *, num_slots: int, max_length: int, max_num_seqs: int) -> None:
        self._num_slots = num_slots
        self._max_length = max_length
        self._batch_limit = min(num_slots // max_length, max_num_seqs)
        assert self._batch_limit, f"{num_slots} slots hold no request of {max_length} tokens"
        self._waiting: deque[Answer] = deque()
        self._batch: list[Answer] = []
        self._padded_prompt = 0
        self._computed = 0
        """Of each row, padding included."""
        self._requests = 0
        self._steps = 0
        self._news = News()

    def add(self, request: Request) -> None:
        self._requests += 1
        self._waiting.append(Answer(request, self._requests))

    def schedule(self) -> Step | None:
        if not self._batch:
            count = min(len(self._waiting), self._batch_limit)
            self._batch = [self._waiting.popleft() for _ in range(count)]
            self._padded_prompt = max((len(answer.request.prompt) for answer in self._batch), default=0)
            self._computed = 0
        if not self._batch:
            return None
        self._steps += 1
        num_tokens = 1 if self._computed else self._padded_prompt
        segments = [
            Segment(answer.number, 0, self._computed, num_tokens, (), samples_token=not answer.is_finished)
            for answer in self._batch
        ]
        return Step(self._steps, (), (), tuple(segments))

    def update(self, results: Mapping[int, Sampled]) -> None:
        self._computed += 1 if self._computed else self._padded_prompt
        for answer in self._batch:
            answer.tokens += results[answer.number].tokens
        if all(answer.is_finished for answer in self._batch):
            self._news.updates.extend(answer.update(answer.tokens) for answer in self._batch)
            self._batch = []

    def take_news(self) -> News:
        news, self._news = self._news, News()
        return news

    def load(self) -> LoadSnapshot:
        reserved = len(self._batch) * self._max_length
        return load(self._steps, len(self._batch), len(self._waiting), self._num_slots, reserved)

    @property
    def live_tokens(self) -> int:
        """Of the unfinished, padding aside, once the step in flight has ended."""
        return sum(answer.length for answer in self._batch if not answer.is_finished)
