"""The KV cache's memory: for each group one array of pages, a page being one block with all layers of the group."""

import math
import time
from collections.abc import Iterable, Sequence

import torch
from pagelet_api.sizes import KvGroup
from torch import Tensor

from pagelet_engine.core.step import BlockCopy, Tier
from pagelet_engine.kernels.reference.block_copy import block_copy
from pagelet_engine.worker.host_blocks import HostBlocks

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
        views = [_PageViews(group, block_size, dtype) for group in groups]
        self.bytes = tuple(torch.empty(num_blocks, view.page_bytes, dtype=torch.uint8, device=device) for view in views)
        """By group: (blocks, page_bytes) uint8, the device's blocks as they are copied."""
        is_pinned = device.type == "cuda"
        host = tuple(HostBlocks(num_host_blocks, view.page_bytes, is_pinned=is_pinned) for view in views)
        self._tiers: dict[Tier, Sequence[Tensor | HostBlocks]] = {Tier.DEVICE: self.bytes, Tier.HOST: host}
        self.pages = tuple(view.numbers(pages) for view, pages in zip(views, self.bytes, strict=True))
        """By group: (blocks, layers, block_size, 2, kv_heads, head_dim)."""
        self.scales = tuple(view.scales(pages) for view, pages in zip(views, self.bytes, strict=True))
        """By group: (blocks, layers, block_size, 2, kv_heads) fp32 where the numbers are fp8, else None."""

    def layer_rows(self, group: int) -> tuple[Tensor, ...]:
        """For each layer of the group: (rows, 2, kv_heads, head_dim), from that layer's first row to the end."""
        pages = self.pages[group]
        _, layers, block_size, *row = pages.shape
        rows = pages.view(-1, *row)
        return tuple(rows[layer * block_size :] for layer in range(layers))

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
            for group, pages in enumerate(self.bytes)
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


class _PageViews:
    """A page: the numbers of all layers of the group, and behind them their scales if they are fp8."""

    def __init__(self, group: KvGroup, block_size: int, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._rows = (len(group.layers), block_size, 2, group.num_kv_heads)
        self._head_dim = group.head_dim
        num_rows = math.prod(self._rows)
        self._number_bytes = num_rows * group.head_dim * dtype.itemsize
        self._has_scales = dtype == torch.float8_e4m3fn
        self.page_bytes = self._number_bytes + num_rows * torch.float32.itemsize * self._has_scales

    def numbers(self, pages: Tensor) -> Tensor:
        numbers: Tensor = pages[:, : self._number_bytes].view(self._dtype).unflatten(1, (*self._rows, self._head_dim))
        return numbers

    def scales(self, pages: Tensor) -> Tensor | None:
        if not self._has_scales:
            return None
        scales: Tensor = pages[:, self._number_bytes :].view(torch.float32).unflatten(1, self._rows)
        return scales
