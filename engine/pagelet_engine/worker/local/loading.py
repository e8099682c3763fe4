"""From a model folder and a configuration to a model with its weights and its KV pool, on a CPU in one process."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from pagelet_api import sizes
from pagelet_api.config import EngineConfig
from pagelet_api.memory_plan import pool_blocks, prompt_logits_rows
from pagelet_api.sizes import KvGroup

from pagelet_engine.core.costs import WorkerCosts
from pagelet_engine.layers.cpu import CpuBackend
from pagelet_engine.layers.reference import ReferenceBackend
from pagelet_engine.models.registry import Model
from pagelet_engine.worker.accelerators import refuse_gpu_formats
from pagelet_engine.worker.blueprint import Blueprint, load_verified
from pagelet_engine.worker.budget import check_memory
from pagelet_engine.worker.kv_pool import KvPool
from pagelet_engine.worker.loaded import LoadedWorker
from pagelet_engine.worker.local.backends import AS_SERVED, NativeOptions, choose_backend
from pagelet_engine.worker.local.execution import EagerExecution, Execution
from pagelet_engine.worker.local.recorded_execution import RecordedExecution
from pagelet_engine.worker.local.slots import Slots
from pagelet_engine.worker.local.worker import LocalWorker
from pagelet_engine.worker.model_facts import ModelError, ModelFacts

_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    pool: KvPool
    num_blocks: int
    """Of each group."""
    num_host_blocks: int
    facts: ModelFacts
    execution: Callable[[Slots], Execution]
    """How steps are computed whose samples sit in these slots."""


def load_local(model_dir: Path, config: EngineConfig) -> LoadedWorker:
    """A worker that is ready for its first step. Raises ModelError."""
    loaded = load_model(model_dir, config)
    facts, pool = loaded.facts, loaded.pool
    max_blocks = -(-facts.max_model_len // config.block_size)
    slots = Slots(config.max_num_seqs, facts.vocab_size, max_blocks, len(pool.groups), pool.device)
    worker = LocalWorker(loaded.execution(slots), pool, slots)
    costs = WorkerCosts(pool.measure_copy_s() if loaded.num_host_blocks else 0.0, overlaps=False)
    return LoadedWorker(worker, loaded.num_blocks, loaded.num_host_blocks, costs, pool.groups, facts)


def load_model(model_dir: Path, config: EngineConfig, options: NativeOptions = AS_SERVED) -> LoadedModel:
    """Verify the folder's digest beside loading its weights; size the pool by config.kv_cache_bytes.

    Raises ModelError for a folder that is missing, changed or not the wanted one, for a model that is not supported,
    weights that do not fit config.json, a quantization that a CPU or the model does not have, and too little memory for
    weights and KV pool.
    """
    return load_verified(model_dir, config.digest, lambda: _load(model_dir, config, options))


def _load(model_dir: Path, config: EngineConfig, options: NativeOptions) -> Callable[[str], LoadedModel]:
    refuse_gpu_formats(config)
    blueprint = Blueprint.read(model_dir, config)
    groups = sizes.kv_groups(blueprint.shape)
    kv_dtype = blueprint.kv_dtype_name
    num_blocks = pool_blocks(config.kv_cache_bytes, groups, config.block_size, kv_dtype)
    num_host_blocks = sizes.num_blocks(config.host_cache_bytes, groups, config.block_size, kv_dtype)
    check_memory(blueprint.weight_bytes, config)
    backend = choose_backend(blueprint.dtype, config.quantization, blueprint.shape, config.block_size, options.library)
    model = blueprint.build(backend)
    pool = _new_pool(config, groups, num_blocks, num_host_blocks, blueprint.kv_dtype)
    return lambda digest: LoadedModel(
        pool,
        num_blocks,
        num_host_blocks,
        blueprint.facts(digest, _CPU),
        lambda slots: _execution(model, backend, pool, slots, config.max_num_batched_tokens, options.poisons),
    )


def _new_pool(
    config: EngineConfig,
    groups: tuple[KvGroup, ...],
    num_blocks: int,
    num_host_blocks: int,
    dtype: torch.dtype,
) -> KvPool:
    """In a CPU's memory. Raises ModelError where the machine does not give it."""
    try:
        return KvPool(groups, num_blocks, config.block_size, dtype, _CPU, num_host_blocks)
    except RuntimeError as error:  # torch's out of memory
        host = f" and hostCacheMemory: {config.host_cache_bytes} bytes" if num_host_blocks else ""
        raise ModelError(
            f"kvCacheMemory: wanted {config.kv_cache_bytes} bytes{host}, which this machine does not give; ask for less"
        ) from error


def _execution(
    model: Model, backend: ReferenceBackend | CpuBackend, pool: KvPool, slots: Slots, max_tokens: int, poisons: bool
) -> Execution:
    prompt_rows = prompt_logits_rows(slots.vocab_size, max_tokens)
    if isinstance(backend, ReferenceBackend):
        return EagerExecution(model, pool, slots, prompt_rows)
    program = backend.record(
        model,
        model.logits,
        pool.pages,
        pool.block_size,
        max_tokens=max_tokens,
        max_sampled=max(slots.num_slots, prompt_rows),
    )
    return RecordedExecution(
        backend.ops.native, program, pool, slots, max_tokens=max_tokens, max_prompt_rows=prompt_rows, poisons=poisons
    )
