"""The blocks of one KV group in one tier: who holds them, which can be found by content, which may be used again, when.

Every block is exactly one of

    in use      a table holds it (`references` > 0);
    in flight   no table holds it, but a submitted step that names it, as a copy's end perhaps, has not ended;
    cached      free, and its content can still be found by name;
    free        no content worth keeping.

    take() ──▶ in use ──release()──▶ in flight ──end_step()──▶ cached (named) or free ──take()──▶ …
                  ◀──────── share() ─────────┴────────────────────┘

Refuses to know requests, tokens, and what a name is made of.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from itertools import chain, islice
from typing import NamedTuple

from pagelet_engine.core.kv_events import BlockContent, KvEventLog
from pagelet_engine.core.step import Tier


class Occupancy(NamedTuple):
    """How full pools are, together, in blocks."""

    total: int
    in_use: int
    """Held, or named by a step in flight."""
    cached: int
    """Free, with content that can still be found."""


def occupancy(pools: Collection["BlockPool"]) -> Occupancy:
    return Occupancy(
        sum(pool.num_blocks for pool in pools),
        sum(pool.num_blocks - pool.num_available for pool in pools),
        sum(pool.num_cached for pool in pools),
    )


class BlockPool:
    """The ledger of `num_blocks` blocks, 0 … num_blocks - 1.

    Steps are numbered upwards from 1 and end in that order. With `events`, what enters and leaves the prefix cache is
    recorded there, as of this `group` and `tier`.
    """

    def __init__(
        self, num_blocks: int, group: int = 0, events: KvEventLog | None = None, tier: Tier = Tier.DEVICE
    ) -> None:
        self.num_blocks = num_blocks
        self._group, self._tier = group, tier
        self._events = events
        self._contents: dict[int, BlockContent] = {}  # of named blocks; empty without events
        self._references = [0] * num_blocks
        self._named_until = [0] * num_blocks  # the last step that names the block, as far as releases have told
        self._names: list[bytes | None] = [None] * num_blocks
        self._block_of_name: dict[bytes, int] = {}
        self._free = list(range(num_blocks - 1, -1, -1))  # a stack: what was used last is warm
        self._cached: OrderedDict[int, None] = OrderedDict()  # least recently used first
        self._in_flight: dict[int, dict[int, bool]] = {}  # step → its blocks, in order of release; True: used long ago
        self._num_in_flight = 0
        self._lent: set[int] = set()  # blocks whose content was lent since it was last held
        self._last_ended = 0

    @property
    def num_available(self) -> int:
        """Blocks that take() can give now."""
        return len(self._free) + len(self._cached)

    @property
    def num_cached(self) -> int:
        """Free blocks whose content can still be found."""
        return len(self._cached)

    @property
    def num_blank(self) -> int:
        """Free blocks without content worth keeping."""
        return len(self._free)

    @property
    def num_held(self) -> int:
        """Blocks that tables hold."""
        return self.num_blocks - self.num_available - self._num_in_flight

    @property
    def num_in_flight(self) -> int:
        """Blocks that become available when the steps in flight have ended."""
        return self._num_in_flight

    def take(self) -> int:
        """A block for a new holder, its content undefined: one without content, else the least recently used."""
        if self._free:
            block = self._free.pop()
        else:
            block, _ = self._cached.popitem(last=False)
            self._forget(block)
        assert self._named_until[block] <= self._last_ended, f"block {block} is reused while a step names it"
        self._references[block] = 1
        self._lent.discard(block)
        return block

    def share(self, block: int) -> None:
        """One more holder, for the content as it is."""
        if not self._references[block]:
            self._leave_rest(block)
            self._lent.discard(block)
        self._references[block] += 1

    def release(self, block: int, last_step: int) -> None:
        """One holder less; `last_step` is the last submitted step that names the block on its behalf.

        A holder releases the end of its table first: of what rests, the oldest is reused first, and a prefix without
        its tail is worth more than a tail without its prefix.
        """
        self.name_in_step(block, last_step)
        self._references[block] -= 1
        if not self._references[block]:
            self._rest(block)

    def name_in_step(self, block: int, step: int) -> None:
        """A step names the block (as the source of a copy, say) without holding it beyond."""
        if step > self._named_until[block]:
            self._named_until[block] = step

    def lend(self, block: int, step: int) -> None:
        """A copy of this step reads the cached block, which stays the least recently used."""
        del self._cached[block]
        self._lent.add(block)
        self._named_until[block] = step
        self._in_flight.setdefault(step, {})[block] = True
        self._num_in_flight += 1

    def end_step(self, step: int) -> None:
        """The step has ended: what only it kept from being free is free."""
        self._last_ended = step
        ended = self._in_flight.pop(step, {})
        self._num_in_flight -= len(ended)
        for block, used_long_ago in ended.items():
            self._rest(block)
            if used_long_ago:
                self._cached.move_to_end(block, last=False)

    def find(self, name: bytes) -> int | None:
        """The block with this content, if the device still has it."""
        return self._block_of_name.get(name)

    def name_of(self, block: int) -> bytes | None:
        return self._names[block]

    def content_of(self, block: int) -> BlockContent | None:
        """What a named block holds; None when nobody is told of such things."""
        return self._contents.get(block)

    def references(self, block: int) -> int:
        """How many tables hold it."""
        return self._references[block]

    def least_recent(self, count: int) -> list[int]:
        """Of the cached blocks that would be reused first, those that have not been lent since they were last held."""
        return [block for block in islice(self._cached, count) if block not in self._lent]

    def count_resting(self, blocks: Iterable[int]) -> int:
        """How many of these would leave the available ones by being shared."""
        return sum(block in self._cached for block in blocks)

    def store(self, block: int, name: bytes, content: BlockContent | None) -> None:
        """The block's content is computed and has this name; the first of two blocks with one content keeps it."""
        if self._names[block] is not None or name in self._block_of_name:
            return
        self._names[block] = name
        self._block_of_name[name] = block
        if self._events and content:
            self._contents[block] = content
            self._events.stored(self._tier, self._group, name, content)

    def check(self, holders: Mapping[int, int]) -> None:
        """Prove the ledger, given how many tables hold each block (not listed: none).

        Raises AssertionError with a sentence about the first block that is wrong.
        """
        for block, references in enumerate(self._references):
            held = holders.get(block, 0)
            assert references == held, f"block {block} has {references} references, but {held} tables hold it"
        flying = list(chain.from_iterable(self._in_flight.values()))
        used = [block for block, references in enumerate(self._references) if references]
        places = sorted([*self._free, *self._cached, *flying, *used])
        assert places == list(range(self.num_blocks)), (
            f"every block must be exactly one of free, cached, in flight and in use; found {places}"
        )
        assert len(flying) == self._num_in_flight, f"{self._num_in_flight} blocks in flight counted, found {flying}"
        for step, blocks in self._in_flight.items():
            assert step > self._last_ended, f"step {step} has ended, but still keeps blocks {list(blocks)}"
            for block in blocks:
                until = self._named_until[block]
                assert until == step, f"block {block} is in flight until step {step}, but named until step {until}"
        for block in (*self._free, *self._cached):
            until = self._named_until[block]
            assert until <= self._last_ended, f"block {block} is available, but step {until} names it and runs"
        for block in self._free:
            assert self._names[block] is None, f"block {block} has content, but is not cached"
        for block in self._cached:
            assert self._names[block] is not None, f"block {block} is cached, but has no name"
        named = {name: block for block, name in enumerate(self._names) if name is not None}
        assert named == self._block_of_name, "names and blocks must point at each other, one to one"

    def is_available(self, block: int) -> bool:
        """Whether take() may give this block to somebody else."""
        return not self._references[block] and self._named_until[block] <= self._last_ended

    def _rest(self, block: int) -> None:
        until = self._named_until[block]
        if until > self._last_ended:
            self._in_flight.setdefault(until, {})[block] = False
            self._num_in_flight += 1
        elif self._names[block] is not None:
            self._cached[block] = None
        else:
            self._free.append(block)

    def _leave_rest(self, block: int) -> None:
        if block in self._cached:
            del self._cached[block]
        else:
            del self._in_flight[self._named_until[block]][block]
            self._num_in_flight -= 1

    def _forget(self, block: int) -> None:
        name = self._names[block]
        assert name is not None, f"block {block} was cached without a name"
        self._names[block] = None
        del self._block_of_name[name]
        if self._events:
            del self._contents[block]
            self._events.removed(self._tier, self._group, name)
