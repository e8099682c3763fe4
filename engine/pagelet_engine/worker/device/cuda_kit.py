"""Ranks on GPUs: Triton kernels, graphs, and a pool of the memory that weights and the largest step leave."""

from collections.abc import Callable

import torch
from pagelet_api.config import EngineConfig, KvCacheDtype, Quantization
from pagelet_api.memory_plan import FEWEST_BLOCKS
from pagelet_api.sizes import KvGroup, page_bytes

from pagelet_engine.kernels.triton.sample import sample
from pagelet_engine.kernels.triton.sampling_rows import note_drawn, start_rows
from pagelet_engine.layers.fp8 import Fp8
from pagelet_engine.layers.triton import TritonBackend
from pagelet_engine.worker.blueprint import Blueprint
from pagelet_engine.worker.device.cuda import CudaCopies, CudaRecorder, Staging, fetch
from pagelet_engine.worker.device.execution import Group
from pagelet_engine.worker.device.kit import Kit, PoolSize
from pagelet_engine.worker.device.pool_size import MeasuredMemory, pool_bytes
from pagelet_engine.worker.device.sampling import Ops
from pagelet_engine.worker.device.triton_batches import TritonBatches
from pagelet_engine.worker.model_facts import ModelError

DEPTH = 2
"""Steps in flight: the next one is scheduled and packed while the device computes."""


OPS = Ops(start_rows, sample, note_drawn)


def weight_format(config: EngineConfig, dtype: torch.dtype, device: torch.device) -> Fp8 | None:
    """None: numbers of dtype. Raises ModelError for what GPUs do not compute with."""
    if config.quantization is Quantization.NONE:
        return None
    if config.quantization is Quantization.FP8:
        return Fp8(dtype, device)
    raise ModelError(
        f"quantization: {config.quantization} wanted, which CPUs compute with, and the engine computes on an "
        "accelerator; set quantization: none or fp8, or device: cpu"
    )


def cuda_kit(config: EngineConfig, device: torch.device) -> Kit:
    """For GPUs that are there."""
    torch.cuda.set_device(device)
    properties = torch.cuda.get_device_properties(device)
    if (
        config.kv_cache_dtype is KvCacheDtype.FP8
        and not torch.version.hip
        and (properties.major, properties.minor) < (8, 9)
    ):
        raise ModelError(
            f"kvCacheDtype: fp8 wanted, and {properties.name} converts no FP8 (compute capability 8.9 or later does); "
            "set auto"
        )

    def backend(blueprint: Blueprint, group: Group) -> TritonBackend:
        linears = weight_format(config, blueprint.dtype, device)
        return TritonBackend(blueprint.dtype, device, properties.multi_processor_count, group, linears)

    def size_pool(blueprint: Blueprint, groups: tuple[KvGroup, ...], largest_step: Callable[[], None]) -> PoolSize:
        share, kv_dtype = config.tensor_parallel_size, blueprint.kv_dtype_name
        block_bytes = sum(page_bytes(group, config.block_size, kv_dtype) for group in groups)
        left = pool_bytes(
            measure(device, largest_step),
            config.gpu_memory_utilization_percent,
            share,
            fewest_bytes=FEWEST_BLOCKS * block_bytes,
        )
        return PoolSize(left // block_bytes, config.host_cache_bytes // share // block_bytes)

    return Kit(
        device=device,
        depth=DEPTH,
        backend=backend,
        batches=TritonBatches,
        copies=lambda pool: CudaCopies(pool, DEPTH),
        staging=lambda length: Staging(length, DEPTH, device),
        fetch=fetch,
        sampling=OPS,
        size_pool=size_pool,
        recorder=CudaRecorder(),
    )


def measure(device: torch.device, largest_step: Callable[[], None]) -> MeasuredMemory:
    """Of a GPU on which the weights lie, and nothing has been computed yet but by others. Memory counts as torch takes
    it from the device, in pieces that are not always filled."""
    largest_step()  # compiles, and makes the libraries take what they keep
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    held = torch.cuda.memory_reserved(device)
    largest_step()
    torch.cuda.synchronize(device)
    peak = torch.cuda.max_memory_reserved(device) - held
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(device)
    return MeasuredMemory(total, held, peak, total - free - torch.cuda.memory_reserved(device))
