"""Prefixes that need not be computed again: which blocks a sample finds, and which it leaves to be found.

Owns the names' meaning: a name is a block's content and all before it, under one model, cache type, salt and adapter.
Refuses to know which blocks are free, and who runs.
"""

from pagelet_api.blocks import root_name

from pagelet_engine.core.kv_cache import BlockTables, KvCache
from pagelet_engine.core.request import Request
from pagelet_engine.core.sample import Sample, Seat


class PrefixCache:
    """A view of the KV cache by content. Not `enabled`: nothing is found, nothing is left."""

    def __init__(self, cache: KvCache, *, enabled: bool, model_digest: str, kv_dtype: str) -> None:
        self._cache = cache
        self._enabled = enabled
        self._model_digest = model_digest
        self._kv_dtype = kv_dtype
        self.queries = 0
        """Prompt tokens that were looked up for samples which then got a seat."""
        self.hits = 0
        """Of those, found."""

    def root(self, request: Request) -> bytes:
        """The parent of the request's first block."""
        return root_name(self._model_digest, self._kv_dtype, request.cache_salt, request.adapter)

    def find(self, sample: Sample) -> tuple[int, BlockTables]:
        """Tokens of the longest cached prefix in full blocks, and these; at least one token stays to be computed."""
        num_blocks, size = 0, self._cache.block_size
        if self._may_ask(sample):
            num_blocks = (len(sample.tokens) - 1) // size
        tables = self._cache.find(sample.block_name(index, size) for index in range(num_blocks))
        return len(tables[0]) * size, tables

    def count(self, sample: Sample, num_found: int) -> None:
        """The sample got a seat for the first time, with this many tokens found."""
        if self._may_ask(sample):
            self.queries += sample.prompt_length
            self.hits += num_found

    def store(self, seat: Seat) -> None:
        """Leave the seat's blocks that have been filled since the last call."""
        sample, size = seat.sample, self._cache.block_size
        num_full = seat.computed // size
        if num_full == seat.num_stored or not self._enabled:
            return
        for index in range(seat.num_stored, num_full):
            name = sample.block_name(index, size)
            parent = sample.block_name(index - 1, size) if index else b""
            tokens = tuple(sample.tokens[index * size : (index + 1) * size])
            self._cache.store(seat.tables, index, name, parent, tokens, sample.request.request.adapter)
        seat.num_stored = num_full

    def _may_ask(self, sample: Sample) -> bool:
        return self._enabled and not sample.request.must_compute_prompt
