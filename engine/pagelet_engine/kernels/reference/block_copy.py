"""Whole pages from one block to another: copy on write."""

from collections.abc import Iterable

from torch import Tensor


def block_copy(pages: Tensor, pairs: Iterable[tuple[int, int]]) -> None:
    """Copy page `source` over page `destination` for each (source, destination), in order.

    pages (num_blocks, …): one row is one block's page, with all layers of its KV group.
    """
    for source, destination in pairs:
        pages[destination].copy_(pages[source])
