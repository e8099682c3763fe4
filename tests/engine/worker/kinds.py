"""Workers of every kind over one model folder: in this process, packed for a device, spread over threads as ranks."""

import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pagelet_api.config import EngineConfig
from pagelet_engine.core.step import Worker
from pagelet_engine.worker.device.cpu import cpu_kit
from pagelet_engine.worker.device.execution import Alone, Group
from pagelet_engine.worker.device.kit import Kit
from pagelet_engine.worker.device.loading import load_follower, load_leader
from pagelet_engine.worker.kv_pool import KvPool
from pagelet_engine.worker.local.backends import NativeOptions
from pagelet_engine.worker.local.loading import load_model
from pagelet_engine.worker.local.slots import Slots
from pagelet_engine.worker.local.worker import LocalWorker

from tests.engine.kernels.cpu.conftest import LIBRARY_UNDER_TEST, usable_levels
from tests.engine.thread_ranks import Meeting, ThreadGroup

UNDER_TEST = NativeOptions(LIBRARY_UNDER_TEST, poisons=True)


@dataclass(frozen=True)
class Loaded:
    worker: Worker
    num_blocks: int
    pools: list[KvPool]
    """A rank each."""


@dataclass(frozen=True)
class WatchedKit:
    """A kit that remembers the pools that ranks were given last."""

    kit: Kit
    pools: list[KvPool]

    @classmethod
    def of(cls, kit: Kit) -> "WatchedKit":
        pools: list[KvPool] = []

        def copies(pool: KvPool) -> Any:
            pools.append(pool)
            return kit.copies(pool)

        return cls(replace(kit, copies=copies), pools)


def load_local(folder: Path, config: EngineConfig) -> Loaded:
    loaded = load_model(folder, config, UNDER_TEST)
    slots = Slots(config.max_num_seqs, loaded.facts.vocab_size, 64, len(loaded.pool.groups), loaded.pool.device)
    return Loaded(LocalWorker(loaded.execution(slots), loaded.pool, slots), loaded.num_blocks, [loaded.pool])


def load_one_rank(folder: Path, config: EngineConfig) -> Loaded:
    return load_alone(folder, config, cpu_kit(config))


def load_alone(folder: Path, config: EngineConfig, kit: Kit) -> Loaded:
    watched = WatchedKit.of(kit)
    leader = load_leader(folder, config, Alone(), watched.kit, lambda step, header: None)
    return Loaded(leader.worker, leader.num_blocks, watched.pools)


def load_two_ranks(folder: Path, config: EngineConfig) -> Loaded:
    """The second rank is a daemon thread that computes what it is told."""
    config = config.model_copy(update={"tensor_parallel_size": 2})
    meeting, told = Meeting(2), queue.Queue[bytes]()
    kits = [WatchedKit.of(cpu_kit(config)) for _ in range(2)]
    groups: list[Group] = [ThreadGroup(rank, meeting) for rank in range(2)]

    def follow() -> None:
        follower = load_follower(folder, config, groups[1], kits[1].kit)
        while True:
            follower.run(told.get())

    threading.Thread(target=follow, daemon=True).start()
    leader = load_leader(folder, config, groups[0], kits[0].kit, lambda step, header: told.put(header))
    return Loaded(leader.worker, leader.num_blocks, [pool for kit in kits for pool in kit.pools])


Load = Callable[[Path, EngineConfig], Loaded]


@dataclass(frozen=True)
class Kind:
    load: Load
    settings: Mapping[str, object] = field(default_factory=dict)
    """Of the engine, where this kind wants them so."""
    fields: Mapping[str, int] = field(default_factory=dict)
    """Of the model."""


KINDS = {
    "in this process": Kind(load_local),
    "packed": Kind(load_one_rank),
    "packed, two ranks": Kind(load_two_ranks),
}
if usable_levels():
    KINDS["in this process, C++ ops"] = Kind(load_local, {"block_size": 16}, {"head_dim": 16})
