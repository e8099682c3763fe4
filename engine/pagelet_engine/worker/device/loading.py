"""From a model folder to a rank that computes: its share of the weights, its pool, its graphs."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from pagelet_api import sizes
from pagelet_api.config import EngineConfig
from pagelet_api.memory_plan import prompt_logits_rows

from pagelet_engine.core.costs import WorkerCosts
from pagelet_engine.core.step import BlockCopy, Tier
from pagelet_engine.kernels.sampling_table import SamplingTable
from pagelet_engine.worker.blueprint import Blueprint, load_verified, model_errors
from pagelet_engine.worker.device.execution import EagerForward, Follower, Forward, Group, Rank, SlotState
from pagelet_engine.worker.device.graphs import Graphs, graph_sizes
from pagelet_engine.worker.device.header import Header
from pagelet_engine.worker.device.kit import Kit
from pagelet_engine.worker.device.rehearsal import Rehearsal, copying_header, pad
from pagelet_engine.worker.device.sampling import MAX_BIAS, MAX_FORBIDDEN, Sampling
from pagelet_engine.worker.device.sections import cut, payload_length
from pagelet_engine.worker.device.worker import DeviceWorker, Tell
from pagelet_engine.worker.kv_pool import KvPool
from pagelet_engine.worker.loaded import LoadedWorker

COMPARE_ENV = "PAGELET_COMPARE_RANKS"
"""1: in every step, all ranks compare their block maps. For a search after a fault: it waits for the device."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    rank: Rank
    pool: KvPool
    num_blocks: int
    num_host_blocks: int
    graph_sizes: tuple[int, ...]


def load_leader(model_dir: Path, config: EngineConfig, group: Group, kit: Kit, tell: Tell) -> LoadedWorker:
    """Rank 0 of `group`, which verifies the folder's digest, too. Raises ModelError."""

    def load() -> Callable[[str], LoadedWorker]:
        return build_leader(Blueprint.read(model_dir, config), config, group, kit, tell)

    return load_verified(model_dir, config.digest, load)


def build_leader(
    blueprint: Blueprint, config: EngineConfig, group: Group, kit: Kit, tell: Tell
) -> Callable[[str], LoadedWorker]:
    """Rank 0 of `group`, complete but for its digest. Raises ModelError, and what `model_errors` makes one of."""
    vocab_size = blueprint.shape.vocab_size
    table = SamplingTable.empty(config.max_num_seqs, vocab_size, MAX_BIAS, MAX_FORBIDDEN, kit.device)
    loaded = _load(blueprint, config, group, kit, table)
    worker = DeviceWorker(
        loaded.rank,
        Sampling(kit.sampling, table),
        kit.staging(len(loaded.rank.state.payload)),
        kit.fetch,
        graph_sizes=loaded.graph_sizes,
        max_prompt_rows=prompt_logits_rows(vocab_size, config.max_num_batched_tokens),
        tell=tell,
    )
    copy_s = loaded.pool.measure_copy_s() if loaded.num_host_blocks else 0.0
    costs = WorkerCosts(copy_s, overlaps=kit.depth > 1)
    return lambda digest: LoadedWorker(
        worker,
        loaded.num_blocks,
        loaded.num_host_blocks,
        costs,
        loaded.pool.groups,
        blueprint.facts(digest, kit.device),
    )


def load_follower(model_dir: Path, config: EngineConfig, group: Group, kit: Kit) -> Follower:
    """Another rank of `group`. Its pod's folder is one that the fetcher has verified. Raises ModelError."""
    with model_errors():
        return Follower(_load(Blueprint.read(model_dir, config), config, group, kit, None).rank)


def _load(blueprint: Blueprint, config: EngineConfig, group: Group, kit: Kit, table: SamplingTable | None) -> _Loaded:
    shape = blueprint.shape
    sizes.check_spread(shape, group.size)
    groups = sizes.kv_groups(shape, group.size)
    model = blueprint.build(kit.backend(blueprint, group))
    state = new_state(blueprint, config, len(groups), kit.device)

    def new_pool(num_blocks: int, num_host_blocks: int = 0) -> KvPool:
        return KvPool(groups, num_blocks, config.block_size, blueprint.kv_dtype, kit.device, num_host_blocks)

    def rehearsal(pool: KvPool) -> Rehearsal:
        return Rehearsal(
            model,
            EagerForward(model, kit.batches(pool, state), state),
            state,
            config.max_num_batched_tokens,
            config.max_num_seqs,
            prompt_logits_rows(shape.vocab_size, config.max_num_batched_tokens),
            blueprint.max_model_len,
            kit.sampling,
            table,
        )

    found = kit.size_pool(blueprint, groups, lambda: rehearsal(new_pool(1)).largest_step())
    num_blocks, num_host_blocks = group.least(found.num_blocks), group.least(found.num_host_blocks)
    pool = new_pool(num_blocks, num_host_blocks)
    last = rehearsal(pool)
    graphs: Forward = last.forward
    captured: tuple[int, ...] = ()
    if kit.recorder is not None:
        last.every_launch()
        captured = graph_sizes(config.max_num_seqs)
        with torch.inference_mode():
            graphs = Graphs(last.forward, kit.recorder, state, captured, blueprint.max_model_len)
    compares_maps = os.environ.get(COMPARE_ENV) == "1"
    rank = Rank(model, group, state, last.forward, graphs, kit.copies(pool), compares_maps=compares_maps)
    if kit.recorder is not None:
        copying = copying_header(len(groups))
        pad(state, copying)
        rank.compute(copying, cut(state.payload, copying))
    return _Loaded(rank, pool, num_blocks, num_host_blocks, captured)


def new_state(blueprint: Blueprint, config: EngineConfig, num_groups: int, device: torch.device) -> SlotState:
    """With room for the largest step."""
    slots, max_blocks = config.max_num_seqs, -(-blueprint.max_model_len // config.block_size)
    tokens = config.max_num_batched_tokens
    # In one step, every slot may be given to a sample whose whole prompt is cached, and copied on write; and all of a
    # prompt's log probabilities may be asked for.
    largest = Header(
        step=0,
        num_tokens=max(tokens, slots),
        num_seqs=slots,
        num_decodes=0,
        num_draws=slots,
        graph=False,
        longest_query=tokens,
        longest_context=blueprint.max_model_len,
        prompt_rows=(tokens,),
        updates=(slots * max_blocks,) * num_groups,
        copies=tuple(
            BlockCopy(group, Tier.DEVICE, 0, Tier.DEVICE, 0) for group in range(num_groups) for _ in range(slots)
        ),
    )
    of_rank_0 = 2 * slots + tokens + 16  # see DeviceWorker
    return SlotState.new(slots, max_blocks, num_groups, payload_length(largest) + of_rank_0, device)
