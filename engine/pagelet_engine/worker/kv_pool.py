"""The KV cache's memory: for each group one array of pages, a page being one block with all layers of the group."""

import time
from collections.abc import Iterable, Sequence

import torch
from pagelet_api.sizes import KvGroup
from torch import Tensor

from pagelet_engine.core.step import BlockCopy, Tier
from pagelet_engine.kernels.reference.block_copy import block_copy

_MEASURED_BLOCKS = 8


class KvPool:
    """`num_blocks` blocks of `block_size` tokens a group on the device, and `num_host_blocks` in host memory. A CPU's
    memory is not touched before it is used."""

    def __init__(
        self,
        groups: Sequence[KvGroup],
        num_blocks: int,
        block_size: int,
        dtype: torch.dtype,
        device: torch.device,
        num_host_blocks: int = 0,
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
        host_pages = tuple(
            torch.empty((num_host_blocks, *pages.shape[1:]), dtype=dtype, pin_memory=device.type != "cpu")
            for pages in self.pages
        )
        self._tiers = {Tier.DEVICE: self.pages, Tier.HOST: host_pages}
        self.layer_rows = tuple(_layer_rows(pages) for pages in self.pages)
        """For each group and layer of it: (rows, 2, kv_heads, head_dim), from that layer's first row to the end."""

    def page_rows(self, group: int) -> int:
        """Token slots from one block to the next."""
        return len(self.groups[group].layers) * self.block_size

    def copy(self, copies: Iterable[BlockCopy]) -> None:
        """Copy whole blocks, in order; on an accelerator, in the order of its stream."""
        for copy in copies:
            source = self._tiers[copy.source_tier][copy.group][copy.source]
            block_copy(source, self._tiers[copy.destination_tier][copy.group][copy.destination])

    def measure_copy_s(self) -> float:
        """Seconds that one block of all groups takes from the device to the host, measured now; both have blocks."""
        host = self._tiers[Tier.HOST]
        copies = [
            BlockCopy(group, Tier.DEVICE, block % len(pages), Tier.HOST, block % len(host[group]))
            for group, pages in enumerate(self.pages)
            for block in range(_MEASURED_BLOCKS)
        ]
        self.copy(copies)  # the memory is there from now on
        self._wait()
        began_s = time.perf_counter()
        self.copy(copies)
        self._wait()
        return (time.perf_counter() - began_s) / _MEASURED_BLOCKS

    def _wait(self) -> None:
        if self.device.type != "cpu":
            torch.cuda.synchronize(self.device)


def _layer_rows(pages: Tensor) -> tuple[Tensor, ...]:
    _, layers, block_size, *row = pages.shape
    rows = pages.view(-1, *row)
    return tuple(rows[layer * block_size :] for layer in range(layers))
