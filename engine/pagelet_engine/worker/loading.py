"""From a model folder and a configuration to a model with its weights and its KV pool."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from pagelet_api import sizes
from pagelet_api.config import Device, EngineConfig
from pagelet_api.memory_plan import DoesNotFitError, pool_blocks, resolve_max_model_len
from pagelet_api.model_folder import ModelFolderError, read_object, verify
from pagelet_api.sizes import KvGroup, ModelConfigError, ModelShape

from pagelet_engine.cgroup import Cgroup
from pagelet_engine.layers.cpu import CpuBackend
from pagelet_engine.layers.reference import ReferenceBackend
from pagelet_engine.models.registry import Model, build_model
from pagelet_engine.weights.checkpoint import Checkpoint
from pagelet_engine.weights.destination import WeightsError
from pagelet_engine.weights.loading import load_weights
from pagelet_engine.worker.backends import choose_backend
from pagelet_engine.worker.budget import Budget, accelerator_budget, check_fits, container_budget
from pagelet_engine.worker.execution import EagerExecution, Execution
from pagelet_engine.worker.kv_pool import KvPool
from pagelet_engine.worker.model_facts import ModelError, ModelFacts, begin_token, end_tokens
from pagelet_engine.worker.recorded_execution import RecordedExecution
from pagelet_engine.worker.slots import Slots

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class LoadedModel:
    pool: KvPool
    num_blocks: int
    """Of each group."""
    num_host_blocks: int
    facts: ModelFacts
    execution: Callable[[Slots], Execution]
    """How steps are computed whose samples sit in these slots."""


def load_model(model_dir: Path, config: EngineConfig) -> LoadedModel:
    """Verify the folder's digest beside loading its weights; size the pool by config.kv_cache_bytes.

    Raises ModelError for a folder that is missing, changed or not the wanted one, for a model that is not supported,
    weights that do not fit config.json, a device that is not there, a quantization that device or model do not have,
    and too little memory for weights and KV pool.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="verify") as pool:
        verification = pool.submit(verify, model_dir, config.digest)
        try:
            return _load(model_dir, config, verification)
        except (ModelFolderError, ModelConfigError, DoesNotFitError, WeightsError) as error:
            # Files that are not what they should be explain what went wrong in reading them.
            cause = verification.exception() or error
            raise ModelError(str(cause)) from cause


def _load(model_dir: Path, config: EngineConfig, digest: Future[str]) -> LoadedModel:
    raw = read_object(model_dir / "config.json")
    shape = ModelShape.from_config(raw)
    max_model_len = resolve_max_model_len(config.max_model_len, shape)
    device = _device(config.device)
    dtype = sizes.resolve_dtype(config.dtype.value, shape)
    groups = sizes.kv_groups(shape)
    num_blocks = pool_blocks(config.kv_cache_bytes, groups, config.block_size, dtype)
    num_host_blocks = sizes.num_blocks(config.host_cache_bytes, groups, config.block_size, dtype)
    weight_bytes = sizes.weight_bytes(shape, dtype, config.quantization)
    backend = choose_backend(device, _DTYPES[dtype], config.quantization, shape, config.block_size)
    if budget := _budget(device, config):
        host_bytes = config.host_cache_bytes if device.type == "cpu" else 0
        check_fits(budget, weight_bytes, config.kv_cache_bytes + host_bytes)

    model = build_model(shape, raw, backend)
    load_weights(Checkpoint(model_dir), model.load(), model.ignored)
    pool = _pool(config, groups, num_blocks, num_host_blocks, _DTYPES[dtype], device)
    generation = model_dir / "generation_config.json"
    facts = ModelFacts(
        digest=digest.result(),
        architecture=shape.architecture,
        parameters=sizes.parameter_count(shape),
        weight_bytes=weight_bytes,
        dtype=dtype,
        kv_cache_dtype=dtype,
        vocab_size=shape.vocab_size,
        max_model_len=max_model_len,
        eos_token_ids=end_tokens(raw, read_object(generation) if generation.exists() else {}, shape.vocab_size),
        bos_token_id=begin_token(raw, shape.vocab_size),
        device="rocm" if device.type == "cuda" and torch.version.hip else device.type,
    )
    return LoadedModel(
        pool, num_blocks, num_host_blocks, facts, lambda slots: _execution(model, backend, pool, slots, config)
    )


def _execution(
    model: Model, backend: ReferenceBackend | CpuBackend, pool: KvPool, slots: Slots, config: EngineConfig
) -> Execution:
    if isinstance(backend, ReferenceBackend):
        return EagerExecution(model, pool, slots)
    program = backend.record(
        model,
        model.logits,
        pool.pages,
        pool.block_size,
        max_tokens=config.max_num_batched_tokens,
        max_sampled=slots.num_slots,
    )
    return RecordedExecution(backend.ops.native, program, pool, slots, slots.num_slots)


def _budget(device: torch.device, config: EngineConfig) -> Budget | None:
    """None: nothing but the machine itself limits it."""
    if device.type != "cpu":
        _, total_bytes = torch.cuda.mem_get_info(device)
        return accelerator_budget(total_bytes, config.gpu_memory_utilization_percent)
    limit_bytes = Cgroup().memory_limit_bytes()
    return None if limit_bytes is None else container_budget(limit_bytes)


def _pool(
    config: EngineConfig,
    groups: tuple[KvGroup, ...],
    num_blocks: int,
    num_host_blocks: int,
    dtype: torch.dtype,
    device: torch.device,
) -> KvPool:
    try:
        return KvPool(groups, num_blocks, config.block_size, dtype, device, num_host_blocks)
    except RuntimeError as error:  # torch's out of memory, on every device
        host = f" and hostCacheMemory: {config.host_cache_bytes} bytes" if num_host_blocks else ""
        raise ModelError(
            f"kvCacheMemory: wanted {config.kv_cache_bytes} bytes{host}, which this machine does not give; ask for less"
        ) from error


def _device(wanted: Device) -> torch.device:
    """Raises ModelError for a device that this machine, or this build of torch, does not offer."""
    if wanted is Device.CPU:
        return torch.device("cpu")
    available = torch.cuda.is_available()
    if wanted is Device.AUTO:
        return torch.device("cuda" if available else "cpu")
    built_for = Device.ROCM if torch.version.hip else Device.CUDA
    if not available or built_for is not wanted:
        found = f"no usable device (torch {torch.__version__} is built for {built_for})"
        raise ModelError(f"device: wanted {wanted}, found {found}; choose device cpu, or start where one is")
    return torch.device("cuda")
