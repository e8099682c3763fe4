from pagelet_engine.core.kv_cache import BlockTables, KvCache
from pagelet_engine.core.step import BlockCopy, Tier


def cache(num_blocks: int = 10, num_groups: int = 1) -> KvCache:
    return KvCache(num_blocks, num_groups, block_size=4, record_events=False)


def opened(kv: KvCache, num_tokens: int) -> BlockTables:
    result = kv.open(kv.find([]), 0, num_tokens, spare=0, step=0)
    assert result is not None
    tables, copies = result
    assert copies == []
    return tables


def test_every_group_has_a_table_with_room_for_all_tokens():
    kv = cache(num_groups=2)
    tables = opened(kv, num_tokens=9)
    assert [len(table) for table in tables] == [3, 3]


def test_full_blocks_are_shared_and_the_one_written_next_is_copied():
    kv = cache()
    source = opened(kv, num_tokens=12)
    tables, copies = kv.open(source, num_cached=10, num_tokens=13, spare=0, step=1)
    assert tables[0][:2] == source[0][:2]
    assert tables[0][2] not in source[0]
    assert copies == [BlockCopy(0, Tier.DEVICE, source[0][2], Tier.DEVICE, tables[0][2])]
    kv.check(held=[source, tables], named=[], copies=copies)


def test_nothing_is_copied_at_a_block_border():
    kv = cache()
    source = opened(kv, num_tokens=12)
    tables, copies = kv.open(source, num_cached=8, num_tokens=12, spare=0, step=1)
    assert copies == []
    assert tables[0][:2] == source[0][:2]
    assert tables[0][2] != source[0][2]


def test_the_source_of_a_copy_is_not_free_before_the_copy_has_ended():
    kv = cache(num_blocks=4)
    source = opened(kv, num_tokens=5)
    kv.open(source, num_cached=4 + 1, num_tokens=6, spare=0, step=2)
    kv.close(source, last_step=1)
    kv.end_step(1)
    assert not kv.has_room(2), "one block was never taken; the copy's source is named by step 2"
    assert kv.will_have_room(2)
    kv.end_step(2)
    assert kv.has_room(2)


def test_there_is_no_room_when_the_prefix_itself_takes_the_last_free_blocks():
    kv = cache(num_blocks=3)
    tables = opened(kv, num_tokens=8)
    for index, name in enumerate((b"a", b"b")):
        kv.store(tables, index, name, None)
    kv.close(tables, last_step=0)
    found = kv.find([b"a", b"b", b"c"])
    assert found == tables
    assert kv.open(found, num_cached=8, num_tokens=16, spare=0, step=1) is None, "2 found + 2 new of 3"
    assert kv.open(found, num_cached=8, num_tokens=12, spare=1, step=1) is None, "nothing to spare"
    assert kv.open(found, num_cached=8, num_tokens=12, spare=0, step=1) is not None


def test_the_tail_of_a_prefix_is_evicted_first():
    kv = cache(num_blocks=3)
    tables = opened(kv, num_tokens=12)
    for index, name in enumerate((b"a", b"b", b"c")):
        kv.store(tables, index, name, None)
    kv.close(tables, last_step=0)
    opened(kv, num_tokens=4)
    assert kv.find([b"a", b"b", b"c"]) == [tables[0][:2]]
