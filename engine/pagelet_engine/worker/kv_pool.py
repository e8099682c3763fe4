"""The KV cache's memory: for each group one array of pages, a page being one block with all layers of the group."""

from collections.abc import Iterable, Sequence

import torch
from pagelet_api.sizes import KvGroup
from torch import Tensor

from pagelet_engine.core.step import BlockCopy, Tier
from pagelet_engine.kernels.reference.block_copy import block_copy


class KvPool:
    """`num_blocks` blocks of `block_size` tokens a group. The memory is not touched before it is used."""

    def __init__(
        self, groups: Sequence[KvGroup], num_blocks: int, block_size: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.groups = tuple(groups)
        self.block_size = block_size
        self.device = device
        self.pages = tuple(
            torch.empty(
                (num_blocks, len(group.layers), block_size, 2, group.num_kv_heads, group.head_dim),
                dtype=dtype,
                device=device,
            )
            for group in groups
        )
        self.layer_rows = tuple(_layer_rows(pages) for pages in self.pages)
        """For each group and layer of it: (rows, 2, kv_heads, head_dim), from that layer's first row to the end."""

    def page_rows(self, group: int) -> int:
        """Token slots from one block to the next."""
        return len(self.groups[group].layers) * self.block_size

    def copy(self, copies: Iterable[BlockCopy]) -> None:
        """Copy whole blocks, in order."""
        for copy in copies:
            assert copy.source_tier is copy.destination_tier is Tier.DEVICE, f"there is no host tier yet: {copy}"
            block_copy(self.pages[copy.group], [(copy.source, copy.destination)])


def _layer_rows(pages: Tensor) -> tuple[Tensor, ...]:
    _, layers, block_size, *row = pages.shape
    rows = pages.view(-1, *row)
    return tuple(rows[layer * block_size :] for layer in range(layers))
