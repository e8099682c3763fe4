"""One model spread over ranks that are threads of this process, or as a worker loads it, and steps through it.

The pool is NaN wherever nothing was written, and NaN again wherever a window has passed: whoever looks there shows it.
"""

import json
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import TypeVar

import torch
from pagelet_api.config import EngineConfig
from pagelet_api.sizes import ModelShape, kv_groups
from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.step import Segment, SlotStart, TableUpdate
from pagelet_engine.layers.reference import ReferenceBackend
from pagelet_engine.models.registry import build_model
from pagelet_engine.weights.checkpoint import Checkpoint
from pagelet_engine.weights.loading import load_weights
from pagelet_engine.worker.kv_pool import KvPool
from pagelet_engine.worker.local.execution import EagerExecution, Execution
from pagelet_engine.worker.local.loading import load_model
from pagelet_engine.worker.local.slots import Slots

from tests.engine.thread_ranks import Meeting, ThreadGroup
from tests.engine.worker.kinds import UNDER_TEST

NUM_BLOCKS = 160
NUM_SLOTS = 8
NOWHERE = 10**6
"""A block that no pool has."""


T, R = TypeVar("T"), TypeVar("R")


class RankOfModel:
    """What a rank holds, and how it computes."""

    def __init__(self, pool: KvPool, slots: Slots, execution: Execution) -> None:
        self.pool, self.slots, self.execution = pool, slots, execution
        for pages in pool.pages:
            pages.fill_(math.nan)

    def run(self, segments: Sequence[Segment]) -> torch.Tensor:
        """→ (tokens, vocab)."""
        with torch.inference_mode():
            for segment in segments:
                if segment.start == 0:
                    self.slots.start(SlotStart(segment.slot, 0, SamplingParams(), segment.tokens))
                self.slots.update_tables(segment)
            self.execution.run(segments, range(sum(segment.num_tokens for segment in segments)), wants_logits=True)
            return self.execution.logits().clone()

    def forget(self, group: int, slot: int, index: int) -> None:
        """A block that fell out of the window: poison, and a table entry that leads nowhere."""
        table = self.slots.block_tables[group][slot]
        if (block := int(table[index])) != NOWHERE:
            self.pool.pages[group][block] = math.nan
            table[index] = NOWHERE


def reference_rank(folder: Path, rank: int, meeting: Meeting) -> RankOfModel:
    """Computed by the reference ops, in fp32, with blocks of 4."""
    config = json.loads((folder / "config.json").read_text())
    shape, dtype, device = ModelShape.from_config(config), torch.float32, torch.device("cpu")
    model = build_model(shape, config, ReferenceBackend(dtype, device, ThreadGroup(rank, meeting)))
    load_weights(Checkpoint(folder), model.load(), model.ignored)
    groups = kv_groups(shape, meeting.size)
    pool = KvPool(groups, NUM_BLOCKS, 4, dtype, device)
    slots = Slots(NUM_SLOTS, shape.vocab_size, NUM_BLOCKS, len(groups), device)
    return RankOfModel(pool, slots, EagerExecution(model, pool, slots, NUM_SLOTS))


def worker_rank(folder: Path, rank: int, meeting: Meeting) -> RankOfModel:
    """As a worker on a CPU computes it, in fp32, with blocks of 16."""
    config = EngineConfig(model_name="tiny", device="cpu", dtype="float32", kv_cache_bytes=8 << 20)
    loaded = load_model(folder, config, UNDER_TEST)
    slots = Slots(256, loaded.facts.vocab_size, NUM_BLOCKS, len(loaded.pool.groups), loaded.pool.device)
    return RankOfModel(loaded.pool, slots, loaded.execution(slots))


class SpreadModel:
    """Samples in slots, which grow by what each step brings."""

    def __init__(
        self, folder: Path, size: int = 1, load: Callable[[Path, int, Meeting], RankOfModel] = reference_rank
    ) -> None:
        self._meeting = Meeting(size)
        self._threads = ThreadPoolExecutor(size)
        self.ranks = self._each(lambda rank: load(folder, rank, self._meeting), range(size))
        self.groups = self.ranks[0].pool.groups
        self._block_size = self.ranks[0].pool.block_size
        self._blocks, self._lengths = count(), [0] * NUM_SLOTS

    def step(self, new_tokens: Sequence[tuple[int, Sequence[int]]]) -> list[torch.Tensor]:
        """(slot, its next tokens) → logits of them all, (tokens, vocab) each."""
        segments = [self._segment(slot, tuple(tokens)) for slot, tokens in new_tokens]
        first, *others = self._each(lambda rank: rank.run(segments), self.ranks)
        assert all(torch.equal(first, other) for other in others), "ranks hold different logits"
        for slot, _ in new_tokens:
            self._forget_what_no_window_reaches(slot)
        return list(first.split([len(tokens) for _, tokens in new_tokens]))

    def logits(self, sequences: Sequence[Sequence[int]], chunk: int = 1000) -> list[torch.Tensor]:
        """Of all positions; in steps that bring at most `chunk` tokens of each sequence."""
        parts: list[list[torch.Tensor]] = [[] for _ in sequences]
        for first in range(0, max(map(len, sequences)), chunk):
            new = [(slot, tokens[first : first + chunk]) for slot, tokens in enumerate(sequences) if tokens[first:]]
            for (slot, _), logits in zip(new, self.step(new), strict=True):
                parts[slot].append(logits)
        return [torch.cat(each) for each in parts]

    def greedy(self, prompt: Sequence[int], length: int) -> list[int]:
        found: list[int] = []
        new = list(prompt)
        while len(found) < length:
            (logits,) = self.step([(0, new)])
            new = [int(logits[-1].argmax())]
            found += new
        return found

    def _segment(self, slot: int, tokens: tuple[int, ...]) -> Segment:
        start = self._lengths[slot]
        self._lengths[slot] = end = start + len(tokens)
        new_blocks = range(-(-start // self._block_size), -(-end // self._block_size))
        updates = [
            TableUpdate(group, index, block)
            for index, block in zip(new_blocks, self._blocks, strict=False)
            for group in range(len(self.groups))
        ]
        return Segment(slot, slot, start, len(tokens), tokens, tuple(updates))

    def _forget_what_no_window_reaches(self, slot: int) -> None:
        for number, group in enumerate(self.groups):
            reached = self._lengths[slot] if group.window is None else max(0, self._lengths[slot] - group.window + 1)
            for index in range(reached // self._block_size if group.window else 0):
                for rank in self.ranks:
                    rank.forget(number, slot, index)

    def _each(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        def run(item: T) -> R:
            try:
                return function(item)
            except BaseException:
                self._meeting.leave()  # do not leave the others waiting
                raise

        results = [self._threads.submit(run, item) for item in items]
        errors = [error for each in results if (error := each.exception())]
        for error in sorted(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
            raise error
        return [each.result() for each in results]
