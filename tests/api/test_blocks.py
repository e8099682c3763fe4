"""Block names: equal exactly when the content is, and the same for ever."""

import hashlib
import struct

from hypothesis import given
from hypothesis import strategies as st
from pagelet_api.blocks import NAME_BYTES, block_name, chain, root_name

TOKENS = st.lists(st.integers(0, 2**32 - 1), max_size=80)
TEXT = st.text(max_size=8)
ROOT = root_name("sha256:00", "bfloat16")


@given(TOKENS, st.integers(1, 17))
def test_every_full_block_has_a_name_and_the_rest_has_none(tokens, block_size):
    names = list(chain(ROOT, tokens, block_size))
    assert len(names) == len(tokens) // block_size
    assert all(len(name) == NAME_BYTES for name in names)
    assert len(set(names)) == len(names)


@given(TOKENS, TOKENS, st.integers(1, 17))
def test_two_sequences_share_names_exactly_as_far_as_their_blocks_are_equal(first, second, block_size):
    blocks = zip(*(range(0, len(t) - block_size + 1, block_size) for t in (first, second)), strict=False)
    shared = 0
    for start, _ in blocks:
        if first[: start + block_size] != second[: start + block_size]:
            break
        shared += 1
    pairs = list(zip(chain(ROOT, first, block_size), chain(ROOT, second, block_size), strict=False))
    assert [a == b for a, b in pairs] == [True] * shared + [False] * (len(pairs) - shared)


ROOT_FIELDS = st.tuples(TEXT, TEXT, TEXT, TEXT, st.lists(st.binary(max_size=8), max_size=2))


@given(ROOT_FIELDS, ROOT_FIELDS)
def test_roots_are_equal_only_when_all_that_tokens_do_not_say_is(first, second):
    assert (root_name(*first) == root_name(*second)) == (first == second)


def test_text_that_moves_from_one_field_to_the_next_makes_another_root():
    assert len({root_name("m", "bf16", *pair) for pair in (("ab", ""), ("a", "b"), ("", "ab"))}) == 3


def test_names_are_those_of_the_definition():
    """SHA-256, cut to 128 bits, of the parent's name and the tokens as little-endian 32-bit numbers."""
    parent = bytes(range(16))
    wanted = hashlib.sha256(parent + struct.pack("<3I", 1, 2, 2**32 - 1)).digest()[:16]
    assert block_name(parent, [1, 2, 2**32 - 1]) == wanted


def test_names_of_this_release_are_those_of_the_last():
    """A gateway of one release looks up blocks of an engine of another."""
    assert root_name("sha256:ab", "bfloat16", "tenant").hex() == "dda370696e3c2a0ea91f75d27063bd49"
    assert [name.hex() for name in chain(ROOT, range(32), 16)] == [
        "fefd2ba04e7e218e91fd01217cc775f2",
        "2ac2e384f678a29cb00215b373c3f455",
    ]
