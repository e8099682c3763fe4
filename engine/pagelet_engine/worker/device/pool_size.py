"""How large the KV pool of a GPU may be: what the weights, the largest step and the stated reserves leave. Pure."""

from dataclasses import dataclass

from pagelet_api.memory_plan import GRAPH_BYTES, GROUP_BYTES, reserved_bytes
from pagelet_api.quantities import mib

from pagelet_engine.worker.model_facts import ModelError


@dataclass(frozen=True, slots=True)
class MeasuredMemory:
    """One GPU's memory after the largest step was computed once. Bytes."""

    total: int
    weights: int
    """Held after loading: weights, slots, sampling tables."""
    step: int
    """On top of them in the largest step, at its peak: logits and sampler included."""
    others: int
    """Taken by none of these: the driver's, the context's, other processes'."""


def pool_bytes(measured: MeasuredMemory, utilization_percent: int, num_ranks: int, fewest_bytes: int) -> int:
    """Raises ModelError, with the sum, where less than `fewest_bytes` is left."""
    share = measured.total * utilization_percent // 100
    left = share - measured.weights - measured.step - measured.others - reserved_bytes(num_ranks)
    if left >= fewest_bytes:
        return left
    nccl = f" + NCCL {mib(GROUP_BYTES)}" if num_ranks > 1 else ""
    raise ModelError(
        f"memory of the GPU: wanted weights {mib(measured.weights)} + largest step {mib(measured.step)} + CUDA and "
        f"others {mib(measured.others)} + graphs {mib(GRAPH_BYTES)}{nccl} + fewest KV blocks {mib(fewest_bytes)} = "
        f"{mib(share - left + fewest_bytes)}; found {mib(share)}, {utilization_percent} % of "
        f"{mib(measured.total)}; raise gpuMemoryUtilizationPercent, lower maxNumBatchedTokens or maxNumSeqs, or take "
        "more or larger GPUs"
    )
