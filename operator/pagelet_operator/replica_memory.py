"""One replica's memory as its spec asks for it: the plan that acceptance checks and that the status shows."""

import re

from pagelet_api.config import Device
from pagelet_api.gpus import UnknownGpuError, gpu_memory_bytes
from pagelet_api.memory_plan import MemoryPlan, plan_gpu, plan_pool
from pagelet_api.sizes import ModelShape
from pagelet_api.v1alpha1 import EngineSpec, InferenceServiceSpec

from pagelet_operator.desired.engine_revision import resolve_device

PROCESS_OVERHEAD_BYTES = 600 * 2**20
"""An engine's interpreter, libraries and small change, beside weights and KV cache."""

_MIG = re.compile(r"nvidia\.com/mig-[0-9]+g\.([0-9]+)gb(\..*)?")


def replica_plan(spec: InferenceServiceSpec, shape: ModelShape) -> MemoryPlan | None:
    """The plan for the device that the spec asks for; None: nobody said how much memory that device has.

    Raises DoesNotFitError and ModelConfigError, as pagelet_api.memory_plan does.
    """
    if resolve_device(spec) is Device.CPU:
        return cpu_plan(spec.engine, shape)
    memory_bytes = accelerator_bytes(spec)
    return None if memory_bytes is None else accelerator_plan(spec.engine, shape, memory_bytes)


def cpu_plan(engine: EngineSpec, shape: ModelShape) -> MemoryPlan:
    """The plan on the cpu device. Raises DoesNotFitError and ModelConfigError."""
    return plan_pool(
        shape,
        pool_bytes=engine.kv_cache_memory.num_bytes,
        dtype=engine.dtype,
        quantization=engine.quantization,
        kv_cache_dtype=engine.kv_cache_dtype,
        block_size=engine.block_size,
        max_model_len=engine.max_model_len,
        max_num_batched_tokens=engine.max_num_batched_tokens,
        max_num_seqs=engine.max_num_seqs,
    )


def accelerator_plan(engine: EngineSpec, shape: ModelShape, memory_bytes: int) -> MemoryPlan:
    """The plan for accelerators of so much memory each. Raises DoesNotFitError and ModelConfigError."""
    return plan_gpu(
        shape,
        memory_bytes=memory_bytes,
        utilization_percent=engine.gpu_memory_utilization_percent,
        tensor_parallel_size=engine.tensor_parallel_size,
        dtype=engine.dtype,
        quantization=engine.quantization,
        kv_cache_dtype=engine.kv_cache_dtype,
        block_size=engine.block_size,
        max_model_len=engine.max_model_len,
        max_num_batched_tokens=engine.max_num_batched_tokens,
        max_num_seqs=engine.max_num_seqs,
    )


def accelerator_bytes(spec: InferenceServiceSpec) -> int | None:
    """Memory of one accelerator: as the spec says, as a slice's name says, or as the product is known to have."""
    if spec.accelerator.memory is not None:
        return spec.accelerator.memory.num_bytes
    for name in sorted(spec.resources.names):
        if match := _MIG.fullmatch(name):
            return int(match[1]) * 10**9
    try:
        return gpu_memory_bytes(spec.accelerator.product) if spec.accelerator.product else None
    except UnknownGpuError:
        return None
