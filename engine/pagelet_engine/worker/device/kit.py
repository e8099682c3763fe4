"""What differs between the devices that ranks compute on, in one place: made by cpu.py and cuda.py."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from pagelet_api.sizes import KvGroup

from pagelet_engine.layers.backend import Backend
from pagelet_engine.worker.blueprint import Blueprint
from pagelet_engine.worker.device.execution import Batches, Copies, Group, SlotState
from pagelet_engine.worker.device.graphs import Recorder
from pagelet_engine.worker.device.sampling import Ops
from pagelet_engine.worker.device.worker import Fetch, Staging
from pagelet_engine.worker.kv_pool import KvPool


@dataclass(frozen=True, slots=True)
class PoolSize:
    num_blocks: int
    """Of each KV group."""
    num_host_blocks: int


class SizePool(Protocol):
    def __call__(self, blueprint: Blueprint, groups: tuple[KvGroup, ...], largest_step: Callable[[], None]) -> PoolSize:
        """How many blocks of its groups this rank has room for, with its weights loaded. `largest_step` computes one.

        Raises ModelError, with the sum, where they are too few.
        """
        ...


@dataclass(frozen=True, slots=True)
class Kit:
    device: torch.device
    depth: int
    """Steps in flight at once."""
    backend: Callable[[Blueprint, Group], Backend]
    batches: Callable[[KvPool, SlotState], Batches]
    copies: Callable[[KvPool], Copies]
    staging: Callable[[int], Staging]
    """Of payloads of so many integers at most."""
    fetch: Fetch
    sampling: Ops
    size_pool: SizePool
    recorder: Recorder | None
    """None: no graphs."""
