"""What fits, and the sum that says why not."""

import pytest
from pagelet_engine.worker.budget import PROCESS_BYTES, check_fits
from pagelet_engine.worker.model_facts import ModelError

GIB = 2**30


def test_what_fits_exactly_fits():
    check_fits(3 * GIB + PROCESS_BYTES, GIB, 2 * GIB)


def test_every_rank_is_a_process():
    with pytest.raises(ModelError, match=r"\+ 3 processes 768 MiB; found"):
        check_fits(3 * GIB + 2 * PROCESS_BYTES, GIB, 2 * GIB, num_ranks=3)


def test_a_pool_beyond_the_containers_limit_is_refused_with_the_sum():
    with pytest.raises(ModelError) as refused:
        check_fits(2 * GIB, GIB, 4 * GIB)
    assert str(refused.value) == (
        "memory: wanted 5,376 MiB: weights 1,024 MiB + KV pool 4,096 MiB + process 256 MiB; found this container's "
        "limit of 2,048 MiB; raise resources.limits.memory, or lower kvCacheMemory"
    )
