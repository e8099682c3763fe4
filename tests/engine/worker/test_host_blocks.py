"""Blocks in pieces of memory are blocks like any others."""

import pytest
from pagelet_engine.worker.host_blocks import HostBlocks


@pytest.mark.parametrize(("num_blocks", "piece_bytes"), [(0, 64), (1, 64), (4, 64), (5, 64), (9, 64), (3, 1)])
def test_every_block_has_memory_of_its_own(num_blocks, piece_bytes):
    blocks = HostBlocks(num_blocks, 16, is_pinned=False, piece_bytes=piece_bytes)
    assert len(blocks) == num_blocks
    for block in range(num_blocks):
        blocks[block].fill_(block)
    assert [blocks[block].unique().tolist() for block in range(num_blocks)] == [[block] for block in range(num_blocks)]
    assert {blocks[block].shape for block in range(num_blocks)} <= {(16,)}


def test_no_piece_is_larger_than_it_may_be():
    blocks = HostBlocks(10, 24, is_pinned=False, piece_bytes=100)
    assert {blocks[block].untyped_storage().nbytes() for block in range(10)} == {96, 48}
