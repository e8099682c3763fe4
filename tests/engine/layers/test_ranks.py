"""Which part of a model a rank holds."""

from types import SimpleNamespace

import pytest
from pagelet_engine.layers.ranks import OneRank, kv_share, share


def shares(of, count, size):
    slices = [of(SimpleNamespace(rank=rank, size=size), count) for rank in range(size)]
    return [list(range(count))[each] for each in slices]


def test_one_rank_holds_everything():
    assert share(OneRank(), 7) == kv_share(OneRank(), 7) == slice(0, 7)


def test_ranks_hold_equal_parts_one_after_the_other():
    assert shares(share, 6, 3) == shares(kv_share, 6, 3) == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize(("kv_heads", "heads", "size"), [(2, 8, 4), (1, 4, 4), (4, 32, 16)])
def test_fewer_kv_heads_than_ranks_are_held_by_those_whose_queries_read_them(kv_heads, heads, size):
    queries, held = shares(share, heads, size), shares(kv_share, kv_heads, size)
    for mine, [kv_head] in zip(queries, held, strict=True):
        assert {head // (heads // kv_heads) for head in mine} == {kv_head}
