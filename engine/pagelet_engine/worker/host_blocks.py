"""The KV cache's second tier: pages in host memory."""

import torch
from torch import Tensor

PIECE_BYTES = 1 << 30


class HostBlocks:
    """`num_blocks` pages of `page_bytes` bytes, pinned where a device is to reach them by itself.

    In pieces of at most `piece_bytes`: torch gives out pinned memory in powers of two, so 48 GiB in one piece would
    take 64, from a pod that asked for 48.
    """

    def __init__(self, num_blocks: int, page_bytes: int, *, is_pinned: bool, piece_bytes: int = PIECE_BYTES) -> None:
        self._num_blocks = num_blocks
        self._a_piece = max(1, piece_bytes // page_bytes)
        lengths = [min(self._a_piece, num_blocks - first) for first in range(0, num_blocks, self._a_piece)]
        self._pieces = [torch.empty(length, page_bytes, dtype=torch.uint8, pin_memory=is_pinned) for length in lengths]

    def __len__(self) -> int:
        return self._num_blocks

    def __getitem__(self, block: int) -> Tensor:
        """(page_bytes,) uint8"""
        return self._pieces[block // self._a_piece][block % self._a_piece]
