"""One rank of a process group over Gloo, as a program: it makes every call of GroupRanks and prints what came of it."""

import json
import socket
import sys

import torch
from pagelet_engine.worker.ranks.group import join_group
from pagelet_engine.worker.ranks.place import Meeting, Place


def main() -> None:
    rank, size, port, descriptor = map(int, sys.argv[1:])
    store = socket.socket(fileno=descriptor) if rank == 0 else None
    group = join_group(Meeting(Place(size), rank, port), torch.device("cpu"), store)
    torch.manual_seed(rank)
    x = torch.randn(7, 33, dtype=torch.float64)
    sums = {}
    with torch.inference_mode():
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            total = group.all_reduce(x.to(dtype))
            assert total.dtype is dtype
            assert total.shape == x.shape
            sums[str(dtype)] = total.double().flatten().tolist()
        strided = group.all_reduce(torch.full((4, 6), float(rank))[:, ::2])
        gathered = group.all_gather(torch.arange(6, dtype=torch.float32).view(2, 3) + 10 * rank)
        payload = torch.arange(8, dtype=torch.int32) if rank == 0 else torch.zeros(8, dtype=torch.int32)
        group.broadcast(payload[2:6])
        least = group.least(100 - rank)
    group.leave()
    print(
        json.dumps(
            {
                "sums": sums,
                "strided": strided.tolist(),
                "gathered": gathered.tolist(),
                "payload": payload.tolist(),
                "least": least,
            }
        )
    )


if __name__ == "__main__":
    main()
