"""What `cuda` does, on a CPU, where nothing is under way when a call returns."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from pagelet_api.config import EngineConfig, Quantization
from pagelet_api.memory_plan import pool_blocks
from pagelet_api.sizes import KvGroup, num_blocks
from torch import Tensor

from pagelet_engine.kernels.reference.sample import sample
from pagelet_engine.kernels.reference.sampling_rows import note_drawn, start_rows
from pagelet_engine.layers.reference import ReferenceBackend
from pagelet_engine.worker.accelerators import refuse_gpu_formats
from pagelet_engine.worker.blueprint import Blueprint
from pagelet_engine.worker.budget import check_memory
from pagelet_engine.worker.device.execution import Wait
from pagelet_engine.worker.device.header import Header
from pagelet_engine.worker.device.kit import Kit, PoolSize
from pagelet_engine.worker.device.reference_batches import ReferenceBatches
from pagelet_engine.worker.device.sampling import Ops
from pagelet_engine.worker.device.sections import Sections
from pagelet_engine.worker.kv_pool import KvPool
from pagelet_engine.worker.model_facts import ModelError

CPU = torch.device("cpu")


class CpuCopies:
    """Implements `execution.Copies`."""

    def __init__(self, pool: KvPool) -> None:
        self._pool = pool

    def run(self, header: Header, sections: Sections[Tensor]) -> Wait | None:
        self._pool.copy(header.copies)
        return None


class CpuStaging:
    """Implements `leader.Staging`."""

    def __init__(self, length: int) -> None:
        self._buffer = np.zeros(length, np.int32)

    def next(self) -> npt.NDArray[np.int32]:
        return self._buffer

    def send(self, length: int, into: Tensor) -> None:
        into[:length] = torch.from_numpy(self._buffer[:length])

    def send_apart(self, numbers: npt.NDArray[np.int32]) -> Tensor:
        return torch.from_numpy(numbers)


def keep(tensors: Sequence[Tensor]) -> tuple[list[Tensor], Wait]:
    """Implements `leader.Fetch`."""
    return list(tensors), lambda: None


def cpu_kit(config: EngineConfig) -> Kit:
    """Ranks on a CPU compute with the reference ops: for tests, and where no rank has a GPU. Raises ModelError."""
    refuse_gpu_formats(config)
    if config.quantization is not Quantization.NONE:
        raise ModelError(
            f"quantization: {config.quantization} wanted, which one rank on a CPU computes with, and there are "
            f"{config.tensor_parallel_size}; set quantization: none, or tensorParallelSize: 1"
        )

    def size_pool(blueprint: Blueprint, groups: tuple[KvGroup, ...], largest_step: Callable[[], None]) -> PoolSize:
        check_memory(blueprint.weight_bytes, config)
        share, kv_dtype = config.tensor_parallel_size, blueprint.kv_dtype_name
        return PoolSize(
            pool_blocks(config.kv_cache_bytes // share, groups, config.block_size, kv_dtype),
            num_blocks(config.host_cache_bytes // share, groups, config.block_size, kv_dtype),
        )

    return Kit(
        device=CPU,
        depth=1,
        backend=lambda blueprint, group: ReferenceBackend(blueprint.dtype, CPU, group),
        batches=ReferenceBatches,
        copies=CpuCopies,
        staging=CpuStaging,
        fetch=keep,
        sampling=Ops(start_rows, sample, note_drawn),
        size_pool=size_pool,
        recorder=None,
    )
