"""Everybody who takes part, on one pool of memory: Pagelet and the baselines, each with the measure of its KV cache."""

from collections.abc import Callable

from pagelet_engine.core import scheduler as core
from pagelet_engine.core.load import LoadSnapshot
from pagelet_engine.core.step import Step
from simulator.baselines.orca import Orca, Reserve, reserve_exactly, reserve_max, reserve_power_of_two
from simulator.baselines.static_batches import StaticBatches
from simulator.measures import KvUse
from simulator.simulation import System

PAGELET, ORACLE, POW2, MAX, STATIC = "Pagelet", "Orca (Oracle)", "Orca (Pow2)", "Orca (Max)", "FasterTransformer"
SYSTEMS = (PAGELET, ORACLE, POW2, MAX, STATIC)
BLOCK_SIZE = 16
MAX_BATCHED_TOKENS = 2048


class PagedKv:
    """Measures a paged cache by what the worker is told: blocks in use, less the empty slots at the tables' ends.

    Blocks that several share are full, and the scheduler counts them once: so does this. The table of who computes
    nothing in a step counts as full; with one step in flight, everybody who runs computes.
    """

    def __init__(self, block_size: int) -> None:
        self._block_size = block_size
        self._lengths: dict[int, int] = {}  # slot → blocks in its table

    def use(self, step: Step, load: LoadSnapshot) -> KvUse:
        size, lengths = self._block_size, self._lengths
        for start in step.starts:
            lengths[start.slot] = 0
        empty = 0
        for segment in step.segments:
            if segment.table_updates:
                lengths[segment.slot] = segment.table_updates[-1].index + 1
            empty += lengths[segment.slot] * size - segment.start - segment.num_tokens
        allocated = load.blocks_in_use * size
        return KvUse(allocated - empty, allocated, load.blocks_total * size)


def pagelet(num_blocks: int, max_length: int, max_num_seqs: int) -> System:
    """The real core, without the prefix cache: the baselines have none, and traces share nothing."""
    scheduler = core.Scheduler(
        num_blocks=num_blocks,
        block_size=BLOCK_SIZE,
        max_model_len=max_length,
        max_batched_tokens=max(MAX_BATCHED_TOKENS, max_num_seqs),
        max_num_seqs=max_num_seqs,
        max_queued=1_000_000,
        prefix_caching=False,
    )
    return System(PAGELET, scheduler, PagedKv(BLOCK_SIZE).use)


def orca(name: str, reserve: Reserve, num_blocks: int, max_num_seqs: int) -> System:
    scheduler = Orca(num_slots=num_blocks * BLOCK_SIZE, max_num_seqs=max_num_seqs, reserve=reserve)
    return System(name, scheduler, _contiguous(lambda: scheduler.live_tokens))


def static_batches(num_blocks: int, max_length: int, max_num_seqs: int) -> System:
    scheduler = StaticBatches(num_slots=num_blocks * BLOCK_SIZE, max_length=max_length, max_num_seqs=max_num_seqs)
    return System(STATIC, scheduler, _contiguous(lambda: scheduler.live_tokens))


def _contiguous(live_tokens: Callable[[], int]) -> Callable[[Step, LoadSnapshot], KvUse]:
    return lambda step, load: KvUse(live_tokens(), load.blocks_in_use, load.blocks_total)


def build(name: str, num_blocks: int, max_length: int, max_num_seqs: int) -> System:
    """One of SYSTEMS, fresh."""
    reserves = {ORACLE: reserve_exactly, POW2: reserve_power_of_two(max_length), MAX: reserve_max(max_length)}
    if name in reserves:
        return orca(name, reserves[name], num_blocks, max_num_seqs)
    if name == STATIC:
        return static_batches(num_blocks, max_length, max_num_seqs)
    return pagelet(num_blocks, max_length, max_num_seqs)
