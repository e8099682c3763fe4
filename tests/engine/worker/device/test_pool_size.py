"""What is left of a GPU for the KV pool, and the sum where it is too little."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pagelet_api.memory_plan import GRAPH_BYTES, GROUP_BYTES
from pagelet_engine.worker.device.pool_size import MeasuredMemory, pool_bytes
from pagelet_engine.worker.model_facts import ModelError

GIB = 2**30
sizes = st.integers(0, 100 * GIB)


@given(sizes, sizes, sizes, sizes, st.integers(10, 99), st.integers(1, 8))
def test_everything_together_stays_within_the_share(total, weights, step, others, percent, num_ranks):
    try:
        pool = pool_bytes(MeasuredMemory(total, weights, step, others), percent, num_ranks, 1)
    except ModelError:
        pool = 1
        fits = False
    else:
        fits = True
    reserved = GRAPH_BYTES + (GROUP_BYTES if num_ranks > 1 else 0)
    assert (weights + step + others + reserved + pool <= total * percent // 100) == fits


def test_all_that_is_left_is_the_pools():
    measured = MeasuredMemory(80 * GIB, 16 * GIB, 2 * GIB, GIB)
    assert pool_bytes(measured, 90, 1, 1) == 72 * GIB - 19 * GIB - GRAPH_BYTES
    assert pool_bytes(measured, 90, 2, 1) == 72 * GIB - 19 * GIB - GRAPH_BYTES - GROUP_BYTES


def test_what_does_not_fit_is_refused_with_the_sum():
    with pytest.raises(ModelError) as refused:
        pool_bytes(MeasuredMemory(24 * GIB, 16 * GIB, 5 * GIB, GIB), 90, 2, GIB // 4)
    assert str(refused.value) == (
        "memory of the GPU: wanted weights 16,384 MiB + largest step 5,120 MiB + CUDA and others 1,024 MiB + graphs "
        "512 MiB + NCCL 512 MiB + fewest KV blocks 256 MiB = 23,808 MiB; found 22,118 MiB, 90 % of 24,576 MiB; raise "
        "gpuMemoryUtilizationPercent, lower maxNumBatchedTokens or maxNumSeqs, or take more or larger GPUs"
    )
