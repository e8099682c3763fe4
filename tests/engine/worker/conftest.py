"""Slots filled by hand, and a driver that gives a worker hand-made steps."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from pagelet_api.config import EngineConfig
from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.step import BlockCopy, Sampled, Segment, SlotStart, Step, StepHandle, TableUpdate, Worker
from pagelet_engine.worker.device.loading import COMPARE_ENV
from pagelet_engine.worker.local.slots import Slots

from tests.engine.conftest import TinyModel
from tests.engine.worker.kinds import KINDS, Kind, Load


@pytest.fixture
def seated() -> Callable[..., Slots]:
    """(vocabulary, starts) → slots in which these samples sit."""

    def seat(vocab_size: int, *starts: SlotStart) -> Slots:
        num_slots = 1 + max(start.slot for start in starts)
        slots = Slots(num_slots, vocab_size, 1, 1, torch.device("cpu"))
        for start in starts:
            slots.start(start)
        return slots

    return seat


@dataclass
class Driver:
    """Plays the core: hands out blocks, in no order, and says what each step computes."""

    worker: Worker
    block_size: int
    free: list[int]
    positions: dict[int, int] = field(default_factory=dict)
    """Slot → tokens computed."""
    tables: dict[int, list[int]] = field(default_factory=dict)
    numbers: Callable[[], int] = itertools.count(1).__next__

    def start(
        self,
        slot: int,
        prompt: Sequence[int],
        sampling: SamplingParams,
        *,
        output: Sequence[int] = (),
        prefix: Sequence[int] = (),
        sample_index: int = 0,
    ) -> SlotStart:
        """Seat a sample whose first blocks, `prefix`, are computed already."""
        self.positions[slot] = len(prefix) * self.block_size
        self.tables[slot] = list(prefix)
        return SlotStart(slot, sample_index, sampling, tuple(prompt), tuple(output))

    def segment(
        self, slot: int, tokens: Sequence[int] = (), *, samples_token: bool = True, new_prefix: int = 0
    ) -> Segment:
        """The slot's next tokens; none: its last drawn one. `new_prefix` shared blocks have not been told yet."""
        start, length, table = self.positions[slot], len(tokens) or 1, self.tables[slot]
        told = len(table) - new_prefix
        while len(table) < math.ceil((start + length) / self.block_size):
            table.append(self.free.pop())
        updates = tuple(TableUpdate(0, index, table[index]) for index in range(told, len(table)))
        self.positions[slot] += length
        return Segment(slot, slot, start, length, tuple(tokens), updates, samples_token)

    def step(
        self, *segments: Segment, starts: Sequence[SlotStart] = (), copies: Sequence[BlockCopy] = ()
    ) -> dict[int, Sampled]:
        return dict(self.submit(*segments, starts=starts, copies=copies).result())

    def submit(
        self, *segments: Segment, starts: Sequence[SlotStart] = (), copies: Sequence[BlockCopy] = ()
    ) -> StepHandle:
        return self.worker.submit(Step(self.numbers(), tuple(starts), tuple(copies), segments))

    def generate(self, slot: int, prompt: Sequence[int], sampling: SamplingParams, count: int) -> list[int]:
        """One sample alone, its prompt in one piece."""
        start = self.start(slot, prompt, sampling)
        drawn = list(self.step(self.segment(slot, prompt), starts=[start])[slot].tokens)
        while len(drawn) < count:
            drawn.extend(self.step(self.segment(slot))[slot].tokens)
        return drawn


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kind:
    """Every kind of worker, one after the other."""
    kind: Kind = request.param
    for name, value in kind.settings.items():
        monkeypatch.setitem(DEFAULTS, name, value)
    return kind


@pytest.fixture
def tiny(kind: Kind, tiny_llama: Callable[..., TinyModel]) -> TinyModel:
    """A model that this kind of worker computes."""
    return tiny_llama(**kind.fields)


@pytest.fixture
def load(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> Load:
    """(model folder, configuration) → a worker of one kind."""
    monkeypatch.setenv(COMPARE_ENV, "1")
    return kind.load


@pytest.fixture
def drive(load: Load) -> Callable[..., Driver]:
    """(model folder, settings) → a driver of a new worker, whose KV pool is NaN wherever nothing has been written."""

    def start(folder: Path, num_blocks: int = 64, **settings: object) -> Driver:
        config = EngineConfig(**DEFAULTS | settings)
        loaded = load(folder, config)
        for pool in loaded.pools:
            for pages in pool.pages:
                pages.fill_(math.nan)
        assert loaded.num_blocks >= num_blocks
        blocks = torch.randperm(num_blocks, generator=torch.Generator().manual_seed(0)).tolist()
        return Driver(loaded.worker, config.block_size, blocks)

    return start


DEFAULTS = {
    "model_name": "tiny",
    "device": "cpu",
    "dtype": "float32",
    "block_size": 4,
    "kv_cache_bytes": 1 << 20,
    "max_num_seqs": 8,
}
