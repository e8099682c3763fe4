"""What becomes of blocks that leave the device: copied to host memory, or dropped and computed again, whichever costs
less.

Thin: `host_tier` plans the copies, `costs` knows the price. Refuses to know who is preempted, and why.
"""

from pagelet_engine.core.costs import Costs
from pagelet_engine.core.host_tier import HostBlocks, HostTier
from pagelet_engine.core.kv_cache import BlockTables, KvCache
from pagelet_engine.core.prefix_cache import PrefixCache
from pagelet_engine.core.sample import Sample, Seat
from pagelet_engine.core.step_draft import StepDraft

BLANK_SHARE = 1 / 8
"""Of the device's blocks: with fewer blank ones, what its prefix cache has not used for long is about to be lost."""


class Swap:
    def __init__(self, cache: KvCache, prefixes: PrefixCache, host: HostTier, costs: Costs) -> None:
        self._cache, self._prefixes, self._host, self._costs = cache, prefixes, host, costs

    def save(self, seat: Seat, draft: StepDraft) -> None:
        """The seat is about to be taken away: keep what it has computed, if it can be kept and that costs less than
        computing it again."""
        size, sample = self._cache.block_size, seat.sample
        num_blocks = self._cache.blocks_for(seat.computed)
        names = [sample.block_name(index, size) for index in range(seat.num_stored)]
        # What others hold as well stays, as long as they do; where it is then, its name tells.
        elsewhere = {index for index in range(len(names)) if self._cache.is_shared(seat.tables, index)}
        here = sum(self._host.has(name) for index, name in enumerate(names) if index not in elsewhere)
        back = num_blocks - len(elsewhere)
        swap_s = self._costs.swap_s(back - here, back, draft.num_moved)
        if swap_s >= self._costs.recompute_s(seat.computed - len(elsewhere) * size) or not self._host.can_save(back):
            return
        named = [(name, self._prefixes.content(sample, index)) for index, name in enumerate(names)]
        sample.saved, copies = self._host.save(seat.tables, seat.computed, named, elsewhere, draft.number)
        draft.copy(copies)

    def find(self, sample: Sample, num_found: int) -> tuple[int, list[HostBlocks]]:
        """How many tokens the sample has of which keys and values need not be computed, given that the device has
        those of the first `num_found`, in full blocks; and the host blocks that hold the rest."""
        size = self._cache.block_size
        first = num_found // size
        if not sample.saved:
            pays = self._costs.prefers_copies(size)
            blocks = self._host.find(self._prefixes.names(sample, first)) if pays else []
            return num_found + len(blocks) * size, blocks
        blocks = []
        for index, saved in enumerate(sample.saved.blocks[first:], start=first):
            found = [saved] if saved else self._host.find([sample.block_name(index, size)])
            if not found:
                break
            blocks += found
        return max(num_found, min(sample.saved.num_tokens, (first + len(blocks)) * size)), blocks

    def load(self, sources: list[HostBlocks], tables: BlockTables, first: int, draft: StepDraft) -> None:
        """Copy what find() has found to the tables' blocks from index `first` on; they can be read a step later."""
        draft.copy(self._host.load(sources, tables, first, draft.number))

    def let_go(self, sample: Sample, last_step: int = 0) -> None:
        """The sample is back, after copies of `last_step`, or has ended."""
        if sample.saved:
            self._host.let_go(sample.saved, last_step)
            sample.saved = None

    def keep_what_leaves(self, draft: StepDraft) -> None:
        """Copy to the host what the device's prefix cache is about to lose, as far as there is time beside the step."""
        low = max(1, int(self._cache.blocks_a_group * BLANK_SHARE))
        short = low - self._cache.num_blank
        if short <= 0 or not self._costs.prefers_copies(self._cache.block_size):
            return
        at_most = self._costs.copies_beside_a_step() - draft.num_moved
        if at_most > 0:
            names = self._cache.least_recent(short)
            draft.copy(self._host.keep(names, draft.number, at_most))
