"""What only an accelerator does: graphs, copies between the tiers on a stream of their own, inputs and results that
travel without anybody waiting."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pagelet_engine.core.step import Tier
from pagelet_engine.kernels.triton.block_copy import copy_blocks
from pagelet_engine.worker.device.execution import Wait
from pagelet_engine.worker.device.graphs import Replay
from pagelet_engine.worker.device.header import Header
from pagelet_engine.worker.device.sections import Sections
from pagelet_engine.worker.kv_pool import KvPool


class CudaRecorder:
    """Implements `graphs.Recorder`: all graphs share one pool of memory, since one runs at a time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream()

    def record(self, launch: Replay) -> Replay:
        # What compiles or allocates for good at its first launch does so before the capture.
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            launch()
        torch.cuda.current_stream().wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        # What other threads ask of the device meanwhile, such as NCCL's watchdog, is no part of the capture.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            hidden = launch()

        def replay() -> Tensor:
            graph.replay()
            return hidden

        return replay


class CudaCopies:
    """Implements `execution.Copies`. Copies between the tiers run on a stream of their own, each block as one piece,
    between the device and pinned memory: no step waits for them but one that reads what they brought."""

    def __init__(self, pool: KvPool, depth: int) -> None:
        """depth: steps in flight at once, at most."""
        self._pool, self._depth = pool, depth
        self._beside = torch.cuda.Stream()
        self._flying: list[tuple[int, bool, torch.cuda.Event]] = []  # step, whether they bring anything, their end

    def run(self, header: Header, sections: Sections[Tensor]) -> Wait | None:
        self._wait_for_older(header.step)
        for pages, pairs in zip(self._pool.bytes, sections.copies, strict=True):
            if len(pairs):
                copy_blocks(pages, pairs)
        moves = [copy for copy in header.copies if copy.is_move]
        if not moves:
            return None
        self._beside.wait_stream(torch.cuda.current_stream())  # what is copied out was written by steps before this
        made = torch.cuda.Event()
        with torch.cuda.stream(self._beside):
            self._pool.copy(moves)
            made.record()
        brings = any(copy.destination_tier is Tier.DEVICE for copy in moves)
        self._flying.append((header.step, brings, made))
        return made.synchronize

    def _wait_for_older(self, step: int) -> None:
        """From now on the device may read what the steps before have brought, and write over what steps that have
        ended took away: on rank 0 these copies were waited for, and the others may be behind."""
        due = [each for each in self._flying if each[1] or each[0] <= step - self._depth]
        for each in due:
            torch.cuda.current_stream().wait_event(each[2])
            self._flying.remove(each)


class Staging:
    """A step's payload on its way to the device: packed into pinned memory, sent by one copy."""

    def __init__(self, length: int, depth: int, device: torch.device) -> None:
        """depth: steps in flight at once, at most: so many may still be on their way."""
        self._device = device
        self._buffers = [torch.empty(length, dtype=torch.int32, pin_memory=True) for _ in range(depth)]
        self._turn = 0

    def next(self) -> npt.NDArray[np.int32]:
        """Memory to pack the next payload into."""
        self._turn = (self._turn + 1) % len(self._buffers)
        array: npt.NDArray[np.int32] = self._buffers[self._turn].numpy()
        return array

    def send(self, length: int, into: Tensor) -> None:
        """Copy so much of what `next` gave."""
        into[:length].copy_(self._buffers[self._turn][:length], non_blocking=True)

    def send_apart(self, numbers: npt.NDArray[np.int32]) -> Tensor:
        """See `worker.Staging`."""
        return torch.from_numpy(numbers).pin_memory().to(self._device, non_blocking=True)


def fetch(tensors: Sequence[Tensor]) -> tuple[list[Tensor], Wait]:
    """The tensors in host memory, and how to wait until they are there: for them alone, not for what is launched
    later."""
    arrived = torch.cuda.Event()
    fetched = [tensor.to("cpu", non_blocking=True) for tensor in tensors]  # into pinned memory
    arrived.record()
    return fetched, arrived.synchronize
