"""Swap or recompute? Loads that press on the KV cache, under each policy for those who lose their seats.

All requests are there from the start, so that a load's time is that of the work. `scheduler_for` is the one place that
knows how a policy is built.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pagelet_engine.core import scheduler as core
from pagelet_engine.core.costs import Costs, WorkerCosts
from simulator.hardware import A100_40GB, H100_80GB, LLAMA_3_8B, OPT_13B, CostModel
from simulator.measures import Journal
from simulator.paper import NUM_BLOCKS
from simulator.simulation import Replay, System, simulate
from simulator.systems import BLOCK_SIZE, MAX_BATCHED_TOKENS, PagedKv
from simulator.traces import SHAREGPT, Arrival, Lengths, LogNormal, backlog
from tqdm import tqdm

RECOMPUTE, SWAP, AUTO = "recompute", "swap", "auto"
POLICIES = (RECOMPUTE, SWAP, AUTO)
GROWING = Lengths("growing", LogNormal(32, 0.5), LogNormal(800, 0.5), 2048)
"""Little when they are admitted, a lot when they end."""
DOCUMENTS = Lengths("documents", LogNormal(4000, 0.5), LogNormal(600, 0.5), 8192)
"""A lot when they are admitted: what is lost takes long to compute."""
_PREFIX_TOKENS, _PREFIXES = 768, 4
_DOCUMENT_BLOCKS = 2500
_SLOW_PCIE_BYTES_PER_S = 1e9


class _AlwaysCopy(Costs):
    """The pure policy: whoever loses a seat is copied, if there is room."""

    def swap_s(self, out: int, back: int, queued: int) -> float:
        return -1.0

    def prefers_copies(self, block_size: int) -> bool:
        return True


def scheduler_for(policy: str, num_host_blocks: int, cost: CostModel, num_blocks: int = NUM_BLOCKS) -> core.Scheduler:
    """Pagelet's scheduler with this policy."""
    kind = _AlwaysCopy if policy == SWAP else Costs
    return core.Scheduler(
        num_host_blocks=0 if policy == RECOMPUTE else num_host_blocks,
        costs=kind(WorkerCosts(cost.copy_s(1), overlaps=True)),
        num_blocks=num_blocks,
        block_size=cost.block_size,
        max_model_len=num_blocks * cost.block_size,
        max_batched_tokens=MAX_BATCHED_TOKENS,
        max_num_seqs=256,
        max_queued=1_000_000,
    )


@dataclass(frozen=True, slots=True)
class Load:
    name: str
    arrivals: list[Arrival]
    cost: CostModel
    host_share: float
    """Host blocks, as a share of what swapping needs at its height when it may have as many as the device has."""
    num_blocks: int = NUM_BLOCKS


@dataclass(frozen=True, slots=True)
class Found:
    load: str
    policy: str
    num_host_blocks: int
    journal: Journal

    @property
    def recomputed(self) -> float:
        """Tokens computed again ÷ useful ones."""
        return self.journal.recomputed_tokens / self.journal.useful_tokens

    @property
    def copied(self) -> float:
        """Tokens copied to the host ÷ useful ones."""
        return self.journal.blocks_to_host * BLOCK_SIZE / self.journal.useful_tokens


def loads(quick: bool) -> list[Load]:
    count = 100 if quick else 600
    cost = CostModel(A100_40GB, OPT_13B)
    slow = replace(cost, gpu=replace(A100_40GB, pcie_bytes_per_s=_SLOW_PCIE_BYTES_PER_S))
    growing, chats, shared = backlog(GROWING, count), backlog(SHAREGPT, count), _shared_prefixes(count)
    mixed = [arrival for three in zip(growing, chats, shared, strict=True) for arrival in three][:count]
    h100 = CostModel(H100_80GB, LLAMA_3_8B)
    slow_h100 = replace(h100, gpu=replace(H100_80GB, pcie_bytes_per_s=_SLOW_PCIE_BYTES_PER_S))
    documents = backlog(DOCUMENTS, count // 2)
    return [
        Load("long answers", growing, cost, 1.0),
        Load("long answers, a quarter of the host blocks", growing, cost, 0.25),
        Load("long answers, PCIe at 1 GB/s", growing, slow, 1.0),
        Load("victims mostly in shared prefixes", shared, cost, 1.0),
        Load("a mix, a quarter of the host blocks", mixed, cost, 0.25),
        Load("a mix, PCIe at 2 GB/s", mixed, replace(cost, gpu=replace(A100_40GB, pcie_bytes_per_s=2e9)), 1.0),
        Load("a mix, PCIe at 1 GB/s", mixed, slow, 1.0),
        Load("documents, 8B on an H100", documents, h100, 1.0, _DOCUMENT_BLOCKS),
        Load("documents, 8B on an H100, a quarter of the host blocks", documents, h100, 0.25, _DOCUMENT_BLOCKS),
        Load("documents, 8B on an H100, PCIe at 1 GB/s", documents, slow_h100, 1.0, _DOCUMENT_BLOCKS),
    ]


def _shared_prefixes(count: int) -> list[Arrival]:
    """Short questions about one of four long documents."""
    arrivals = backlog(Lengths("questions", LogNormal(24, 0.5), LogNormal(300, 0.5), 1024), count)
    return [
        arrival._replace(
            prompt_tokens=_PREFIX_TOKENS + arrival.prompt_tokens,
            prefix=1 + number % _PREFIXES,
            prefix_tokens=_PREFIX_TOKENS,
        )
        for number, arrival in enumerate(arrivals)
    ]


def run(quick: bool) -> list[Found]:
    return [found for load in tqdm(loads(quick), unit="load", leave=False) for found in _all_policies(load)]


def _all_policies(load: Load) -> Iterator[Found]:
    num_host_blocks = int(load.host_share * _host_need(load))
    for policy in POLICIES:
        yield Found(load.name, policy, num_host_blocks, _simulate(load, policy, num_host_blocks))


def _host_need(load: Load) -> int:
    """Host blocks in use at the height."""
    return _simulate(load, SWAP, load.num_blocks).host_blocks_peak


def _simulate(load: Load, policy: str, num_host_blocks: int) -> Journal:
    scheduler = scheduler_for(policy, num_host_blocks, load.cost, load.num_blocks)
    system = System(policy, scheduler, PagedKv(load.cost.block_size).use, scheduler.note_duration)
    return simulate(system, Replay(load.arrivals), load.cost)


COLUMNS = ("load", "policy", "host blocks", "time, s", "beside the best", "recomputed", "copied", "preemptions")


def rows(results: list[Found]) -> Iterator[tuple[str, ...]]:
    for found in results:
        journal = found.journal
        best_s = min(one.journal.busy_s for one in results if one.load == found.load)
        yield (
            *(found.load, found.policy, f"{found.num_host_blocks}", f"{journal.busy_s:.1f}"),
            *(f"{journal.busy_s / best_s - 1:+.1%}", f"{found.recomputed:.1%}", f"{found.copied:.1%}"),
            f"{journal.preemptions}",
        )


def as_json(results: list[Found]) -> dict[str, Any]:
    return {
        "runs": [
            {
                "load": found.load,
                "policy": found.policy,
                "host_blocks": found.num_host_blocks,
                "seconds": found.journal.busy_s,
                "recomputed_share": found.recomputed,
                "copied_share": found.copied,
                "preemptions": found.journal.preemptions,
            }
            for found in results
        ]
    }
