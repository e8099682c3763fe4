"""Prefixes that need not be computed again: which blocks a sample finds, which it leaves to be found, and which are in
the making.

Owns the names' meaning: a name is a block's content and all before it, under one model, cache type, salt and adapter.
Refuses to know which blocks are free, and who runs.
"""

from collections.abc import Collection, Iterator

from pagelet_api.blocks import root_name

from pagelet_engine.core.kv_cache import BlockTables, KvCache
from pagelet_engine.core.kv_events import BlockContent
from pagelet_engine.core.request import Request
from pagelet_engine.core.sample import Sample, Seat

WORTH_A_WAIT = 1 / 8
"""A sample waits for blocks in the making when they spare it this share of its tokens: it waits a step or two, and for
less than that it is better off computing them."""


class PrefixCache:
    """A view of the KV cache by content. Not `enabled`: nothing is found, nothing is left."""

    def __init__(self, cache: KvCache, *, enabled: bool, model_digest: str, kv_dtype: str) -> None:
        self._cache = cache
        self._enabled = enabled
        self._model_digest = model_digest
        self._kv_dtype = kv_dtype
        self._making: dict[bytes, Seat] = {}  # name of a block to be filled → who fills it; the first of several
        self.queries = 0
        """Prompt tokens that were looked up for samples which then got a seat."""
        self.hits = 0
        """Of those, found."""

    def root(self, request: Request) -> bytes:
        """The parent of the request's first block."""
        return root_name(self._model_digest, self._kv_dtype, request.cache_salt, request.adapter)

    def names(self, sample: Sample, first: int = 0) -> Iterator[bytes]:
        """Of the blocks that may be found for the sample, from index `first` on, made as they are asked for: full ones,
        and at least one token stays to be computed."""
        size = self._cache.block_size
        end = (len(sample.tokens) - 1) // size if self._may_ask(sample) else 0
        return (sample.block_name(index, size) for index in range(first, end))

    def content(self, sample: Sample, index: int) -> BlockContent:
        """What the sample's full block holds."""
        size = self._cache.block_size
        parent = sample.block_name(index - 1, size) if index else b""
        tokens = tuple(sample.tokens[index * size : (index + 1) * size])
        return BlockContent(parent, tokens, sample.request.request.adapter)

    def find(self, sample: Sample) -> tuple[int, BlockTables]:
        """Tokens of the longest cached prefix in full blocks, and these; at least one token stays to be computed."""
        tables = self._cache.find(self.names(sample))
        return len(tables[0]) * self._cache.block_size, tables

    def count(self, sample: Sample, num_found: int) -> None:
        """The sample got a seat for the first time, with this many tokens found."""
        if self._may_ask(sample):
            self.queries += sample.prompt_length
            self.hits += num_found

    def is_worth_a_wait(self, sample: Sample) -> bool:
        """Whether the blocks that follow the sample's longest cached prefix are being computed right now, by steps that
        have been submitted or are just drafted, and are enough of its tokens."""
        if not self._making or not self._may_ask(sample):
            return False
        size = self._cache.block_size
        first = index = self.find(sample)[0] // size
        for name in self.names(sample, first):
            if not self._is_in_the_making(name, (index + 1) * size):
                break
            index += 1
        spared, needed = (index - first) * size, len(sample.tokens) - first * size
        return index > first and spared >= WORTH_A_WAIT * needed

    def _is_in_the_making(self, name: bytes, end: int) -> bool:
        seat = self._making.get(name)
        return seat is not None and seat.scheduled >= end

    def begin(self, seat: Seat) -> None:
        """The seat is going to fill all blocks of what its sample has said so far."""
        if self._enabled:
            for name in self._unfilled(seat):
                self._making.setdefault(name, seat)

    def leave(self, seat: Seat) -> None:
        """The seat is given up: nobody need wait for it."""
        if self._enabled:
            for name in self._unfilled(seat):
                self._forget(name, seat)

    def check(self, running: Collection[Seat]) -> None:
        """Prove that whatever is in the making is still being made. Raises AssertionError."""
        unfilled = {seat: set(self._unfilled(seat)) for seat in running}
        for name, seat in self._making.items():
            who = f"sample {seat.sample.number}"
            assert seat in unfilled, f"a block is in the making of {who}, which does not run"
            assert name in unfilled[seat], f"a block is in the making of {who}, which has filled it or never will"

    def _unfilled(self, seat: Seat) -> Iterator[bytes]:
        size = self._cache.block_size
        return (seat.sample.block_name(index, size) for index in range(seat.num_stored, seat.seated_length // size))

    def _forget(self, name: bytes, seat: Seat) -> None:
        if self._making.get(name) is seat:
            del self._making[name]

    def store(self, seat: Seat) -> None:
        """Leave the seat's blocks that have been filled since the last call."""
        sample, size = seat.sample, self._cache.block_size
        num_full = seat.computed // size
        if num_full == seat.num_stored or not self._enabled:
            return
        for index in range(seat.num_stored, num_full):
            name = sample.block_name(index, size)
            self._cache.store(seat.tables, index, name, self.content(sample, index))
            self._forget(name, seat)
        seat.num_stored = num_full

    def _may_ask(self, sample: Sample) -> bool:
        return self._enabled and not sample.request.must_compute_prompt
