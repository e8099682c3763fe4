"""Whether weights and KV pool fit a container's memory, judged before either is allocated. Pure.

A pool that only later turns out to be too large is an engine that the kernel kills in the middle of somebody's answer.
"""

from pagelet_engine.worker.model_facts import ModelError

PROCESS_BYTES = 256 * 2**20
"""Of front and core beside weights and pool, from below: 400 MiB were measured, most of them torch's, whose builds
differ."""


def check_fits(limit_bytes: int, weight_bytes: int, pool_bytes: int) -> None:
    """Raises ModelError, with the sum, for more than the container may use."""
    wanted = weight_bytes + pool_bytes + PROCESS_BYTES
    if wanted <= limit_bytes:
        return
    raise ModelError(
        f"memory: wanted {_mib(wanted)}: weights {_mib(weight_bytes)} + KV pool {_mib(pool_bytes)} + process "
        f"{_mib(PROCESS_BYTES)}; found this container's limit of {_mib(limit_bytes)}; raise resources.limits.memory, "
        "or lower kvCacheMemory"
    )


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:,.0f} MiB"
