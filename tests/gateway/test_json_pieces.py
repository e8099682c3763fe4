"""JSON in pieces: joined, it is what the library would have written at once."""

import json
from itertools import chain

from hypothesis import given
from hypothesis import strategies as st
from pagelet_gateway.json_pieces import SLICE_ITEMS, array, items, quote

values = st.lists(st.one_of(st.none(), st.integers(), st.text(), st.lists(st.integers())), max_size=3 * SLICE_ITEMS)


@given(values)
def test_an_array_in_pieces_is_the_array(listed: list[object]) -> None:
    assert json.loads(b"".join(array(items(listed)))) == listed


@given(st.lists(values, max_size=4), st.integers(0, 3))
def test_parts_follow_one_another_whatever_is_empty(parts: list[list[object]], empty: int) -> None:
    pieces = [[b"", *items(part)] + [b""] * empty for part in parts]
    assert json.loads(b"".join(array(*pieces))) == list(chain(*parts))


def test_text_is_ascii() -> None:
    assert quote("\u2028\ud83c") == '"\\u2028\\ud83c"'
