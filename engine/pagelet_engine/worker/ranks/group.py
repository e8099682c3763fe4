"""The process group: how tensors go from rank to rank, NCCL between GPUs and Gloo between CPUs, by the same calls.

Owns joining and leaving. Refuses to know what the tensors are, and who is alive: its own time limits are far beyond
those of the watch.
"""

import os
import socket
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # public, but not in __all__

from pagelet_engine.worker.model_facts import ModelError
from pagelet_engine.worker.ranks.one_shot import OneShotAllReduce
from pagelet_engine.worker.ranks.place import LOOPBACK, Meeting
from pagelet_engine.worker.threads import usable_cores

_TIMEOUT = timedelta(hours=1)
_HALF = (torch.bfloat16, torch.float16)


class GroupRanks:
    """All ranks of the engine, from this one's side: `layers.ranks.Ranks`, and what ranks tell each other beside it.

    All ranks make the same calls in the same order, with tensors of one shape and dtype on their device.
    """

    def __init__(self, rank: int, size: int, device: torch.device, one_shot: OneShotAllReduce | None) -> None:
        self.rank, self.size, self.device = rank, size, device
        self._one_shot = one_shot

    def all_reduce(self, x: Tensor) -> Tensor:
        """The sum of all ranks' x, the same numbers on every rank; x itself may be overwritten."""
        if self._one_shot is not None and self._one_shot.takes(x):
            return self._one_shot(x)
        if self.device.type == "cpu" and x.dtype in _HALF:  # Gloo would round at every addition
            total = x.float()
            dist.all_reduce(total)
            return total.to(x.dtype)
        x = x.contiguous()
        dist.all_reduce(x)
        return x

    def all_gather(self, x: Tensor) -> Tensor:
        """x (rows, n) → (rows, size × n): the ranks' columns side by side."""
        rows, n = x.shape
        gathered = torch.empty((self.size * rows, n), dtype=x.dtype, device=x.device)
        dist.all_gather_into_tensor(gathered, x.contiguous())
        return gathered.view(self.size, rows, n).transpose(0, 1).reshape(rows, self.size * n)

    def broadcast(self, tensor: Tensor) -> None:
        """Rank 0's tensor (contiguous), into everybody's."""
        dist.broadcast(tensor, src=0)

    def least(self, number: int) -> int:
        """Of the numbers that all ranks give. Waits for the device."""
        least = torch.tensor([number], dtype=torch.int64, device=self.device)
        dist.all_reduce(least, op=dist.ReduceOp.MIN)
        return int(least.item())

    def leave(self) -> None:
        """In good order; after a failure, the end of the process does it."""
        dist.destroy_process_group()


def join_group(meeting: Meeting, device: torch.device, store_socket: socket.socket | None = None) -> GroupRanks:
    """Wait for all ranks and join them. Rank 0 gives the listening socket on which the store is made, and loses it.

    Raises ModelError when this rank computes on another kind of device than rank 0.
    """
    place, rank, size = meeting.place, meeting.rank, meeting.place.size
    if place.leader_host == LOOPBACK:  # nobody outside is to reach us
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        os.environ.setdefault("NCCL_SOCKET_IFNAME", "=lo")
    store = TCPStore(
        place.leader_host,
        meeting.store_port,
        size,
        is_master=store_socket is not None,
        timeout=_TIMEOUT,
        wait_for_workers=False,
        master_listen_fd=store_socket.detach() if store_socket is not None else None,
    )
    _agree_on_device(store, rank, device)
    if device.type == "cpu":
        torch.set_num_threads(max(1, usable_cores() // len(place.ranks)))
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=_TIMEOUT)
        return GroupRanks(rank, size, device, None)
    torch.cuda.set_device(device)
    dist.init_process_group("nccl", store=store, rank=rank, world_size=size, timeout=_TIMEOUT, device_id=device)
    return GroupRanks(rank, size, device, OneShotAllReduce.where_possible(device, size, place.pods))


def _agree_on_device(store: TCPStore, rank: int, device: torch.device) -> None:
    if rank == 0:
        store.set("device", device.type)
        return
    wanted = store.get("device").decode()
    if wanted != device.type:
        raise ModelError(
            f"device: rank 0 computes on {wanted}, rank {rank} finds {device.type}; give all ranks the same"
        )
