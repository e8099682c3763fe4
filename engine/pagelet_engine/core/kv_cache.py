"""The block tables of running samples, over all KV groups, and the prefix cache they share.

All groups advance together: a table has as many blocks in one group as in another, a prefix is found where every
group holds it, and there is room where every group has it. Refuses to know requests, budgets and ranks.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from itertools import chain

from pagelet_engine.core.blocks import BlockPool
from pagelet_engine.core.kv_events import KvEvent, KvEventLog
from pagelet_engine.core.step import BlockCopy, TableUpdate, Tier

BlockTables = list[list[int]]
"""`tables[group][index]`: the block with the tokens at positions index × block_size …"""


class KvCache:
    """`num_blocks` blocks of `block_size` tokens in each of `num_groups` groups."""

    def __init__(self, num_blocks: int, num_groups: int, block_size: int, *, record_events: bool) -> None:
        self.block_size = block_size
        self._events = KvEventLog() if record_events else None
        self._pools = tuple(BlockPool(num_blocks, group, self._events) for group in range(num_groups))

    @property
    def blocks_total(self) -> int:
        return sum(pool.num_blocks for pool in self._pools)

    @property
    def blocks_in_use(self) -> int:
        """Held by a table, or named by a step in flight."""
        return sum(pool.num_blocks - pool.num_available for pool in self._pools)

    @property
    def blocks_cached(self) -> int:
        return sum(pool.num_cached for pool in self._pools)

    def blocks_for(self, num_tokens: int) -> int:
        return -(-num_tokens // self.block_size)

    def find(self, names: Iterable[bytes]) -> BlockTables:
        """The longest prefix of these blocks that every group holds; nothing is held by asking."""
        tables: BlockTables = [[] for _ in self._pools]
        for name in names:
            blocks = [pool.find(name) for pool in self._pools]
            if None in blocks:
                break
            for table, block in zip(tables, blocks, strict=True):
                assert block is not None
                table.append(block)
        return tables

    def open(
        self, shared: BlockTables, num_cached: int, num_tokens: int, spare: int, step: int
    ) -> tuple[BlockTables, list[BlockCopy]] | None:
        """Tables with room for `num_tokens`, of which the first `num_cached` are read from `shared`.

        None: there are not that many blocks and `spare` others.

        Full blocks are shared. A block that `num_cached` ends within is about to be written by its new holder: in
        `step`, it gets a copy (copy on write, at the only moment a shared block would be written).
        """
        full, partial = divmod(num_cached, self.block_size)
        num_new = self.blocks_for(num_tokens) - full
        for pool, table in zip(self._pools, shared, strict=True):
            if pool.num_available < num_new + pool.count_resting(table[:full]) + spare:
                return None
        tables: BlockTables = []
        copies: list[BlockCopy] = []
        for group, (pool, table) in enumerate(zip(self._pools, shared, strict=True)):
            for block in table[:full]:
                pool.share(block)
            tables.append(table[:full] + [pool.take() for _ in range(num_new)])
            if partial:
                pool.name_in_step(table[full], step)
                copies.append(BlockCopy(group, Tier.DEVICE, table[full], Tier.DEVICE, tables[group][full]))
        return tables, copies

    def has_room(self, num_new: int) -> bool:
        """Whether every group has this many blocks to give."""
        return all(pool.num_available >= num_new for pool in self._pools)

    def will_have_room(self, num_new: int) -> bool:
        """The same once the steps in flight have ended, whatever else happens."""
        return all(pool.num_available + pool.num_in_flight >= num_new for pool in self._pools)

    def grow(self, tables: BlockTables, num_new: int) -> tuple[TableUpdate, ...]:
        """Append this many blocks in every group; there must be room."""
        start = len(tables[0])
        for pool, table in zip(self._pools, tables, strict=True):
            table += [pool.take() for _ in range(num_new)]
        return self.updates(tables, start)

    def updates(self, tables: BlockTables, start: int = 0) -> tuple[TableUpdate, ...]:
        """The tables from index `start` on, as the worker is told."""
        return tuple(
            TableUpdate(group, index, table[index])
            for group, table in enumerate(tables)
            for index in range(start, len(table))
        )

    def close(self, tables: BlockTables, last_step: int) -> None:
        """Let go of all blocks; `last_step` is the last submitted step that reads or writes through these tables."""
        for pool, table in zip(self._pools, tables, strict=True):
            for block in reversed(table):
                pool.release(block, last_step)

    def store(
        self, tables: BlockTables, index: int, name: bytes, parent: bytes, tokens: tuple[int, ...], adapter: str
    ) -> None:
        """The tables' blocks at `index` are full and computed: from now on they are found by name."""
        for pool, table in zip(self._pools, tables, strict=True):
            pool.store(table[index], name, parent, tokens, adapter)

    def end_step(self, step: int) -> None:
        for pool in self._pools:
            pool.end_step(step)

    def take_events(self) -> list[KvEvent]:
        return self._events.take() if self._events else []

    def snapshot(self) -> list[KvEvent]:
        return self._events.snapshot() if self._events else []

    def check(self, held: Collection[BlockTables], named: Iterable[BlockTables], copies: Iterable[BlockCopy]) -> None:
        """Prove the ledger against the tables that are held, and the tables and copies that steps in flight name."""
        holders = [Counter(chain.from_iterable(tables[group] for tables in held)) for group in range(len(self._pools))]
        for pool, blocks in zip(self._pools, holders, strict=True):
            pool.check(blocks)
        in_flight = {(group, block) for tables in named for group, table in enumerate(tables) for block in table}
        for copy in copies:
            in_flight |= {(copy.group, copy.source), (copy.group, copy.destination)}
        for group, block in in_flight:
            available = self._pools[group].is_available(block)
            assert not available, f"group {group}: block {block} is available, but a step in flight names it"
