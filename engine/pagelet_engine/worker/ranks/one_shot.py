"""A sum over ranks in one kernel: every rank reads every other's numbers over peer-to-peer memory.

For the few kilobytes of a decode step, where NCCL's ring is all latency. It runs inside CUDA graphs. Owns the memory
that the ranks share; where that cannot be had, NCCL does the work.
"""

import sys

import torch
import torch.distributed as dist
from torch import Tensor

MAX_BYTES = 256 * 1024
"""Above, a rank's reading all of every other costs more than a ring's latency."""
_ALIGNMENT = 16
_DTYPES = (torch.bfloat16, torch.float32)
"""That torch's kernel adds."""
_SIZES = (2, 4, 8)
"""Ranks for which torch's kernel adds in one order on all of them."""


class OneShotAllReduce:
    """Sums of up to MAX_BYTES over the ranks of the default group. One at a time, in the order of the stream."""

    def __init__(self, device: torch.device) -> None:
        """Every rank does this at once. Raises RuntimeError where peers do not reach each other's memory."""
        import torch.distributed._symmetric_memory as symmetric_memory

        group = dist.group.WORLD
        assert group is not None
        self._group_name = group.group_name
        self._shared = symmetric_memory.empty(MAX_BYTES, dtype=torch.uint8, device=device)
        symmetric_memory.rendezvous(self._shared, group)

    @classmethod
    def where_possible(cls, device: torch.device, size: int, pods: int) -> "OneShotAllReduce | None":
        """Says in one line when NCCL has to do alone. Every rank does this at once, and all get the same."""
        why = _why_not(size, pods)
        made = None
        if why is None:
            try:
                made = cls(device)
            except (ImportError, AttributeError, RuntimeError) as error:
                why = f"torch's symmetric memory: {' '.join(str(error).split())}"
        everybody = torch.tensor([made is not None], dtype=torch.int32, device=device)
        dist.all_reduce(everybody, op=dist.ReduceOp.MIN)
        if everybody.item():
            return made
        if dist.get_rank() == 0:
            print(
                f"pagelet engine: NCCL adds small tensors too: {why or 'a rank has no peer-to-peer memory'}",
                file=sys.stderr,
                flush=True,
            )
        return None

    def takes(self, x: Tensor) -> bool:
        """Whether it adds a tensor of this shape and dtype."""
        num_bytes = x.numel() * x.element_size()
        fits = 0 < num_bytes <= MAX_BYTES and num_bytes % _ALIGNMENT == 0
        return fits and x.dtype in _DTYPES and x.is_contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        """A new tensor: the sum of all ranks' x."""
        shared = self._shared[: x.numel() * x.element_size()].view(x.dtype).view(x.shape)
        total: Tensor = torch.ops.symm_mem.one_shot_all_reduce_copy(shared, x, "sum", self._group_name)
        return total


def _why_not(size: int, pods: int) -> str | None:
    if pods > 1:
        return "ranks of several pods share no memory"
    if size not in _SIZES:
        return f"wanted {', '.join(map(str, _SIZES))} ranks, found {size}"
    if torch.version.hip:
        return "it is for NVIDIA GPUs"
    if not hasattr(torch.ops.symm_mem, "one_shot_all_reduce_copy"):
        return f"torch {torch.__version__} does not have it"
    return None
