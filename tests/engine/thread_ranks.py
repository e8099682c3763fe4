"""Ranks that are threads of one process."""

import threading
from typing import Any

import torch

PATIENCE_S = 60


class Meeting:
    """Where ranks exchange what they bring."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._barrier = threading.Barrier(size, timeout=PATIENCE_S)
        self._brought: list[Any] = [None] * size

    def exchange(self, rank: int, brought: Any) -> list[Any]:
        self._brought[rank] = brought.clone() if isinstance(brought, torch.Tensor) else brought
        self._barrier.wait()
        found = list(self._brought)
        self._barrier.wait()
        assert len({getattr(each, "shape", None) for each in found}) == 1
        return found

    def leave(self) -> None:
        """Do not leave the others waiting."""
        self._barrier.abort()


class ThreadGroup:
    """Implements `device.execution.Group`, and with it `layers.ranks.Ranks`."""

    def __init__(self, rank: int, meeting: Meeting) -> None:
        self.rank, self.size, self._meeting = rank, meeting.size, meeting

    def all_reduce(self, x: torch.Tensor) -> torch.Tensor:
        return x.copy_(sum(self._meeting.exchange(self.rank, x)))

    def all_gather(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat(self._meeting.exchange(self.rank, x), dim=1)

    def broadcast(self, tensor: torch.Tensor) -> None:
        tensor.copy_(self._meeting.exchange(self.rank, tensor)[0])

    def least(self, number: int) -> int:
        return min(self._meeting.exchange(self.rank, number))
