import pytest
from pagelet_engine.core.blocks import BlockPool


def cached(pool: BlockPool, *names: bytes) -> list[int]:
    """Blocks with this content, free again, released in this order."""
    blocks = [pool.take() for _ in names]
    for block, name in zip(blocks, names, strict=True):
        pool.store(block, name, None)
        pool.release(block, last_step=0)
    return blocks


def test_gives_each_block_once():
    pool = BlockPool(3)
    assert sorted(pool.take() for _ in range(3)) == [0, 1, 2]
    assert pool.num_available == 0


def test_uses_blocks_without_content_before_it_evicts():
    pool = BlockPool(3)
    (kept,) = cached(pool, b"a")
    assert kept not in (pool.take(), pool.take())
    assert pool.find(b"a") == kept


def test_evicts_what_rested_longest_and_forgets_its_name():
    pool = BlockPool(2)
    first, second = cached(pool, b"first", b"second")
    assert pool.take() == first
    assert pool.find(b"first") is None
    assert pool.find(b"second") == second
    pool.check({first: 1})


def test_a_block_that_was_used_again_is_evicted_later():
    pool = BlockPool(2)
    first, second = cached(pool, b"first", b"second")
    pool.share(first)
    pool.release(first, last_step=0)
    assert pool.take() == second


def test_a_shared_block_is_free_when_its_last_holder_has_gone():
    pool = BlockPool(1)
    block = pool.take()
    pool.share(block)
    pool.release(block, last_step=0)
    assert pool.num_available == 0
    pool.release(block, last_step=0)
    assert pool.num_available == 1


def test_a_block_is_free_when_the_last_step_that_names_it_has_ended():
    pool = BlockPool(1)
    pool.release(pool.take(), last_step=2)
    pool.end_step(1)
    assert (pool.num_available, pool.num_in_flight) == (0, 1)
    pool.check({})
    pool.end_step(2)
    assert (pool.num_available, pool.num_in_flight) == (1, 0)


def test_the_latest_step_of_all_holders_counts():
    pool = BlockPool(1)
    block = pool.take()
    pool.share(block)
    pool.release(block, last_step=2)  # its other holder was not in step 2
    pool.release(block, last_step=1)
    pool.end_step(1)
    assert pool.num_available == 0
    pool.end_step(2)
    assert pool.num_available == 1


def test_content_in_flight_can_be_shared():
    pool = BlockPool(1)
    block = pool.take()
    pool.store(block, b"a", None)
    pool.release(block, last_step=1)
    pool.share(block)
    pool.end_step(1)
    assert pool.num_available == 0
    pool.check({block: 1})


def test_the_first_of_two_blocks_with_one_content_keeps_the_name():
    pool = BlockPool(2)
    first, second = pool.take(), pool.take()
    pool.store(first, b"a", None)
    pool.store(second, b"a", None)
    assert pool.find(b"a") == first
    pool.release(second, last_step=0)
    pool.release(first, last_step=0)
    assert pool.num_cached == 1
    assert pool.take() == second, "the copy nobody can find goes first"


@pytest.mark.parametrize(
    ("holders", "sentence"),
    [
        ({}, r"block 0 has 1 references, but 0 tables hold it"),
        ({0: 1, 1: 1}, r"block 1 has 0 references, but 1 tables"),
    ],
)
def test_check_says_who_holds_what_nobody_gave(holders, sentence):
    pool = BlockPool(2)
    pool.take()
    pool.check({0: 1})
    with pytest.raises(AssertionError, match=sentence):
        pool.check(holders)
