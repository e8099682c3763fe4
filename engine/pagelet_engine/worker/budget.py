"""Whether weights and KV pool fit the memory that this engine may use, judged before either is allocated. Pure.

A pool that only later turns out to be too large is an engine that the kernel kills in the middle of somebody's answer.
"""

from dataclasses import dataclass

from pagelet_engine.worker.model_facts import ModelError

PROCESS_BYTES = 256 * 2**20
"""Of front and core beside weights and pool, from below: 400 MiB were measured, most of them torch's, whose builds
differ."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Memory that may be used."""

    num_bytes: int
    found: str
    """What sets it, with the number."""
    advice: str
    overhead_bytes: int = 0
    """Taken by neither weights nor pool."""


def container_budget(limit_bytes: int) -> Budget:
    return Budget(
        limit_bytes,
        f"this container's limit of {_mib(limit_bytes)}",
        "raise resources.limits.memory, or lower kvCacheMemory",
        PROCESS_BYTES,
    )


def accelerator_budget(total_bytes: int, percent: int) -> Budget:
    usable = total_bytes * percent // 100
    return Budget(
        usable,
        f"gpuMemoryUtilizationPercent {percent} of {_mib(total_bytes)}, which is {_mib(usable)}",
        "take a larger accelerator, or lower kvCacheMemory",
    )


def check_fits(budget: Budget, weight_bytes: int, pool_bytes: int) -> None:
    """Raises ModelError with the sum."""
    wanted = weight_bytes + pool_bytes + budget.overhead_bytes
    if wanted <= budget.num_bytes:
        return
    process = f" + process {_mib(budget.overhead_bytes)}" if budget.overhead_bytes else ""
    raise ModelError(
        f"memory: wanted {_mib(wanted)}: weights {_mib(weight_bytes)} + KV pool {_mib(pool_bytes)}{process}; "
        f"found {budget.found}; {budget.advice}"
    )


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:,.0f} MiB"
