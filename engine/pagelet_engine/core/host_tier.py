"""The second tier of the KV cache: blocks in host memory, under the same names as the device's and by the same ledger.

Two kinds of blocks live here: those of preempted samples, pinned until the sample comes back or ends, and those that
the device's prefix cache is about to lose, free to be reused like any cached block. A block with a name can serve both,
and anybody who asks for the name. Plans copies; refuses to know who is preempted, and whether copying pays.

A copy between the tiers runs beside its step. So what it fills is found by name, and read, from the next step on, and
what it reads stays as it is until its step has ended.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from pagelet_engine.core.blocks import Occupancy, occupancy
from pagelet_engine.core.kv_cache import BlockTables, KvCache
from pagelet_engine.core.kv_events import BlockContent
from pagelet_engine.core.step import BlockCopy, Tier

HostBlocks = tuple[int, ...]
"""One block in each group."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What a preempted sample keeps in host memory, by index in its tables."""

    step: int
    """Its copies run beside this one; 0: there were none to make."""
    num_tokens: int
    """Tokens from the first on whose keys and values come back with it, if all names are still found."""
    blocks: tuple[HostBlocks | None, ...]
    """None: others had the block when it was saved, and it is to be found by its name."""


@dataclass(frozen=True, slots=True)
class Named:
    """A host block that gets its name when its copy has been made."""

    group: int
    block: int
    name: bytes
    content: BlockContent | None


class HostTier:
    """`num_blocks` blocks of host memory in each group of `cache`; of these, preempted samples pin at most as many as
    the device has."""

    def __init__(self, cache: KvCache, num_blocks: int) -> None:
        self._cache = cache
        self._pools = cache.new_pools(num_blocks, Tier.HOST)
        self._max_held = min(num_blocks, cache.blocks_a_group)
        self.saved = self.loaded = 0
        """Blocks copied from the device, and to it."""
        self._naming: dict[int, list[Named]] = {}  # step → what its copies will have filled

    def has(self, name: bytes) -> bool:
        """Whether every group holds this content."""
        return all(pool.find(name) is not None for pool in self._pools)

    def can_save(self, num_new: int) -> bool:
        """Whether there is room for this many more blocks of preempted samples."""
        return all(pool.num_available >= num_new and pool.num_held + num_new <= self._max_held for pool in self._pools)

    # ---- preempted samples -----------------------------------------------------------------------------------------

    def save(
        self,
        tables: BlockTables,
        num_tokens: int,
        named: Sequence[tuple[bytes, BlockContent]],
        elsewhere: Collection[int],
        step: int,
    ) -> tuple[Saved, list[BlockCopy]]:
        """Keep the first `num_tokens` tokens of these tables; there must be room.

        named: the leading blocks that have a name, by index. elsewhere: indices that are left to others to keep.
        """
        blocks: list[HostBlocks | None] = []
        copies: list[BlockCopy] = []
        for index in range(self._cache.blocks_for(num_tokens)):
            if index in elsewhere:
                blocks.append(None)
            elif index < len(named) and self.has(named[index][0]):
                blocks.append(self._share(named[index][0]))
            else:
                taken = tuple(pool.take() for pool in self._pools)
                sources = tuple(table[index] for table in tables)
                copies += self._cache.copies_out(sources, taken, step)
                if index < len(named):
                    self._name_later(taken, *named[index], step)
                blocks.append(taken)
        self.saved += len(copies)
        return Saved(step if copies else 0, num_tokens, tuple(blocks)), copies

    def let_go(self, saved: Saved, last_step: int) -> None:
        """The sample is back or has ended; `last_step` is the last one whose copies read what was saved."""
        for blocks in filter(None, reversed(saved.blocks)):
            for pool, block in zip(self._pools, blocks, strict=True):
                pool.release(block, max(last_step, saved.step))

    def find(self, names: Iterable[bytes]) -> list[HostBlocks]:
        """The longest run of these blocks that every group holds."""
        found = []
        for name in names:
            if not self.has(name):
                break
            found.append(tuple(block for pool in self._pools if (block := pool.find(name)) is not None))
        return found

    def load(self, sources: Sequence[HostBlocks], tables: BlockTables, first: int, step: int) -> list[BlockCopy]:
        """Copy host blocks to the tables' blocks from index `first` on, beside this step."""
        copies = []
        for index, blocks in enumerate(sources, start=first):
            for group, (pool, block) in enumerate(zip(self._pools, blocks, strict=True)):
                # Held for a moment: a block that nobody holds is then the most recently used.
                pool.share(block)
                pool.release(block, step)
                copies.append(BlockCopy(group, Tier.HOST, block, Tier.DEVICE, tables[group][index]))
        self.loaded += len(copies)
        return copies

    # ---- what the device is about to lose --------------------------------------------------------------------------

    def keep(self, names: Iterable[bytes], step: int, at_most: int) -> list[BlockCopy]:
        """Copy cached blocks of the device, beside this step, unless they are here already."""
        copies: list[BlockCopy] = []
        for name in names:
            if at_most <= 0 or not all(pool.num_available for pool in self._pools):
                break
            if any(pool.find(name) is not None for pool in self._pools):
                continue
            sources = self._cache.lend(name, step)
            if sources is None:
                continue
            taken = tuple(pool.take() for pool in self._pools)
            copies += self._cache.copies_out(sources, taken, step)
            self._name_later(taken, name, self._cache.content_of(sources[0]), step)
            for pool, block in zip(self._pools, taken, strict=True):
                pool.release(block, step)
            at_most -= 1
        self.saved += len(copies)
        return copies

    # ---- both ------------------------------------------------------------------------------------------------------

    def end_step(self, step: int) -> None:
        for named in self._naming.pop(step, ()):
            self._pools[named.group].store(named.block, named.name, named.content)
        for pool in self._pools:
            pool.end_step(step)

    @property
    def occupancy(self) -> Occupancy:
        """In use: held for a preempted sample, or named by a copy in flight."""
        return occupancy(self._pools)

    def check(self, held: Iterable[Saved], copies: Iterable[BlockCopy]) -> None:
        """Prove the ledger against what is saved, and the copies that steps in flight make."""
        kept = [blocks for saved in held for blocks in saved.blocks if blocks]
        for group, pool in enumerate(self._pools):
            pool.check(Counter(blocks[group] for blocks in kept))
            assert pool.num_held <= self._max_held, f"group {group}: {pool.num_held} host blocks are pinned"
        for copy in copies:
            for block in copy.blocks_in(Tier.HOST):
                available = self._pools[copy.group].is_available(block)
                assert not available, f"group {copy.group}: host block {block} is available, but a copy names it"
        waiting = {(named.group, named.block) for named in chain.from_iterable(self._naming.values())}
        for group, block in waiting:
            assert not self._pools[group].is_available(block), f"host block {block} is to be named, but available"

    def _share(self, name: bytes) -> HostBlocks:
        (blocks,) = self.find((name,))
        for pool, block in zip(self._pools, blocks, strict=True):
            pool.share(block)
        return blocks

    def _name_later(self, blocks: HostBlocks, name: bytes, content: BlockContent | None, step: int) -> None:
        for group, block in enumerate(blocks):
            self._naming.setdefault(step, []).append(Named(group, block, name, content))
