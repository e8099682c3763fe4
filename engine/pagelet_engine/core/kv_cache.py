"""The block tables of running samples, over all KV groups, and the prefix cache they share.

All groups advance together: a table has as many blocks in one group as in another, a prefix is found where every
group holds it, and there is room where every group has it. Refuses to know requests, budgets and ranks.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import chain

from pagelet_engine.core.blocks import BlockPool, Occupancy, occupancy
from pagelet_engine.core.kv_events import BlockContent, KvEvent, KvEventLog
from pagelet_engine.core.step import BlockCopy, Tier

BlockTables = list[list[int]]
"""`tables[group][index]`: the block with the tokens at positions index × block_size …"""


class KvCache:
    """`num_blocks` blocks of `block_size` tokens in each of `num_groups` groups."""

    def __init__(self, num_blocks: int, num_groups: int, block_size: int, *, record_events: bool) -> None:
        self.block_size = block_size
        self._events = KvEventLog() if record_events else None
        self._num_groups = num_groups
        self._pools = self.new_pools(num_blocks, Tier.DEVICE)

    def new_pools(self, num_blocks: int, tier: Tier) -> tuple[BlockPool, ...]:
        """Pools for all groups, whose changes are told with those of this cache."""
        return tuple(BlockPool(num_blocks, group, self._events, tier) for group in range(self._num_groups))

    @property
    def blocks_a_group(self) -> int:
        return self._pools[0].num_blocks

    @property
    def num_blank(self) -> int:
        """Blocks a group that are free and hold nothing worth keeping, at least."""
        return min(pool.num_blank for pool in self._pools)

    @property
    def occupancy(self) -> Occupancy:
        return occupancy(self._pools)

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

    def is_shared(self, tables: BlockTables, index: int) -> bool:
        """Whether another table, in every group, holds the block as well."""
        return all(pool.references(table[index]) > 1 for pool, table in zip(self._pools, tables, strict=True))

    # ---- copies to and from another tier ---------------------------------------------------------------------------

    def copies_out(self, sources: Sequence[int], destinations: Sequence[int], step: int) -> list[BlockCopy]:
        """Copy one block a group to host memory beside this step; the source stays as it is until that has ended."""
        copies = []
        for group, (source, destination) in enumerate(zip(sources, destinations, strict=True)):
            self._pools[group].name_in_step(source, step)
            copies.append(BlockCopy(group, Tier.DEVICE, source, Tier.HOST, destination))
        return copies

    def lend(self, name: bytes, step: int) -> tuple[int, ...] | None:
        """The cached blocks with this content, for copies of this step to read; None where a group's is in use."""
        blocks = []
        for pool in self._pools:
            block = pool.find(name)
            if block is None or not pool.count_resting((block,)):
                return None
            blocks.append(block)
        for pool, block in zip(self._pools, blocks, strict=True):
            pool.lend(block, step)
        return tuple(blocks)

    def least_recent(self, count: int) -> list[bytes]:
        """Names of the cached blocks that would be lost first."""
        pool = self._pools[0]
        return [name for block in pool.least_recent(count) if (name := pool.name_of(block)) is not None]

    def content_of(self, block: int) -> BlockContent | None:
        """What the first group's block holds, if it has a name and anybody is told of such things."""
        return self._pools[0].content_of(block)

    # ---- room ------------------------------------------------------------------------------------------------------

    def has_room(self, num_new: int) -> bool:
        """Whether every group has this many blocks to give."""
        return all(pool.num_available >= num_new for pool in self._pools)

    def will_have_room(self, num_new: int) -> bool:
        """The same once the steps in flight have ended, whatever else happens."""
        return all(pool.num_available + pool.num_in_flight >= num_new for pool in self._pools)

    def grow(self, tables: BlockTables, num_new: int) -> None:
        """Append this many blocks in every group; there must be room."""
        for pool, table in zip(self._pools, tables, strict=True):
            table += [pool.take() for _ in range(num_new)]

    def close(self, tables: BlockTables, last_step: int) -> None:
        """Let go of all blocks; `last_step` is the last submitted step that reads or writes through these tables."""
        for pool, table in zip(self._pools, tables, strict=True):
            for block in reversed(table):
                pool.release(block, last_step)

    def store(self, tables: BlockTables, index: int, name: bytes, content: BlockContent) -> None:
        """The tables' blocks at `index` are full and computed: from now on they are found by name."""
        for pool, table in zip(self._pools, tables, strict=True):
            pool.store(table[index], name, content)

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
            in_flight |= {(copy.group, block) for block in copy.blocks_in(Tier.DEVICE)}
        for group, block in in_flight:
            available = self._pools[group].is_available(block)
            assert not available, f"group {group}: block {block} is available, but a step in flight names it"
