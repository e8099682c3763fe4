"""Copy on write of whole blocks, beside torch's gather and scatter."""

from collections.abc import Iterator
from functools import partial

import torch
from gpu.timing import Row, device_peaks, seconds_a_call
from pagelet_engine.kernels.triton.block_copy import copy_blocks
from torch import Tensor

NUM_BLOCKS, PAGE = 1024, (32, 16, 2, 8, 128)  # pages of 2 MiB, as of Llama 3 8B: any two sets of pairs are cold
PAIRS = (1, 8, 64, 256)


def measure() -> Iterator[Row]:
    peaks = device_peaks()
    pages = torch.zeros(NUM_BLOCKS, *PAGE, dtype=torch.bfloat16, device="cuda")
    page_bytes = pages[0].numel() * pages.element_size()
    for count in PAIRS:
        pairs = [torch.randperm(NUM_BLOCKS, device="cuda")[: 2 * count].view(-1, 2) for _ in range(32)]
        seconds = seconds_a_call([partial(copy_blocks, pages, each.int()) for each in pairs])
        torch_s = seconds_a_call([partial(_gather_scatter, pages, each) for each in pairs])
        num_bytes = 2 * count * page_bytes
        yield Row.of_bytes("block_copy", f"{count} blocks of 2 MiB", seconds, num_bytes, peaks, torch=torch_s)


def _gather_scatter(pages: Tensor, pairs: Tensor) -> None:
    pages.index_copy_(0, pairs[:, 1], pages.index_select(0, pairs[:, 0]))
