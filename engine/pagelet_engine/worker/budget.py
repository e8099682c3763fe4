"""Whether weights and KV pool fit a container's memory, judged before either is allocated.

A pool that only later turns out to be too large is an engine that the kernel kills in the middle of somebody's answer.
"""

from pagelet_api.config import EngineConfig
from pagelet_api.quantities import mib

from pagelet_engine.cgroup import Cgroup
from pagelet_engine.worker.model_facts import ModelError

PROCESS_BYTES = 256 * 2**20
"""Of front and core, or of another rank, beside weights and pool; from below: 400 MiB were measured, most of them
torch's, whose builds differ."""


def check_memory(weight_bytes: int, config: EngineConfig) -> None:
    """Raises ModelError, with the sum, where a container's limit is too low for weights and pools."""
    limit_bytes = Cgroup().memory_limit_bytes()
    if limit_bytes is not None:
        pool_bytes = config.kv_cache_bytes + config.host_cache_bytes
        check_fits(limit_bytes, weight_bytes, pool_bytes, config.tensor_parallel_size)


def check_fits(limit_bytes: int, weight_bytes: int, pool_bytes: int, num_ranks: int = 1) -> None:
    """Raises ModelError, with the sum, for more than the container may use."""
    process_bytes = num_ranks * PROCESS_BYTES
    wanted = weight_bytes + pool_bytes + process_bytes
    if wanted <= limit_bytes:
        return
    processes = "process" if num_ranks == 1 else f"{num_ranks} processes"
    raise ModelError(
        f"memory: wanted {mib(wanted)}: weights {mib(weight_bytes)} + KV pool {mib(pool_bytes)} + {processes} "
        f"{mib(process_bytes)}; found this container's limit of {mib(limit_bytes)}; raise resources.limits.memory, "
        "or lower kvCacheMemory"
    )
