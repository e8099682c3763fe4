"""A recorded program: the ops of one forward pass, and one piece of memory for everything between them.

A forward pass is recorded twice. The first time every result has memory of its own and nothing is computed: that
shows which result lives from where to where. Then each gets a place, shared by results that never live at once, and
the second pass records the ops that are run in every step.
"""

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pagelet_engine.kernels.cpu.abi import Rows
from pagelet_engine.kernels.cpu.library import OpList

ALIGNMENT = 64
"""Bytes: a cache line, and the widest register."""


@dataclass(frozen=True, slots=True)
class Lifetime:
    """One result: its size, the op that writes it, and the last op that reads it."""

    num_bytes: int
    born: int
    dies: int


def place(lifetimes: Sequence[Lifetime]) -> tuple[list[int], int]:
    """Offsets of all results in one piece of memory, and its size: no two that live at once overlap. Pure.

    The largest first, each at the lowest offset that is free for its whole life.
    """
    offsets = [0] * len(lifetimes)
    placed: list[int] = []
    for index in sorted(range(len(lifetimes)), key=lambda i: -lifetimes[i].num_bytes):
        own = lifetimes[index]
        others = sorted(
            (offsets[i], offsets[i] + _aligned(lifetimes[i].num_bytes))
            for i in placed
            if lifetimes[i].born <= own.dies and own.born <= lifetimes[i].dies
        )
        offset = 0
        for start, end in others:
            if offset + own.num_bytes <= start:
                break
            offset = max(offset, end)
        offsets[index] = offset
        placed.append(index)
    size = max((o + _aligned(each.num_bytes) for o, each in zip(offsets, lifetimes, strict=True)), default=0)
    return offsets, size


class Tape:
    """Takes down ops. Without `memory`, results lie anywhere; with it, result number i lies at offsets[i]."""

    def __init__(self, memory: Tensor | None = None, offsets: Sequence[int] = ()) -> None:
        self.ops: list[ctypes.Structure] = []
        self.rows = Rows.TOKENS
        """What counts the rows of ops recorded from now on."""
        self._memory, self._offsets = memory, offsets
        self._sizes: list[int] = []
        self._born: list[int] = []
        self._dies: list[int] = []
        self._number_of: dict[int, int] = {}  # the address of a result's memory → its number
        self._kept: list[Tensor] = []

    def new(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Memory for the result of the op that is recorded next."""
        number, num_bytes = len(self._sizes), dtype.itemsize * torch.Size(shape).numel()
        if self._memory is None:
            result = torch.empty(shape, dtype=dtype)  # never touched: costs addresses alone
            self._kept.append(result)  # so that no two results share them
        else:
            offset = self._offsets[number]
            result = self._memory[offset : offset + num_bytes].view(dtype).view(shape)
        self._number_of.setdefault(result.data_ptr(), number)
        self._sizes.append(num_bytes)
        self._born.append(len(self.ops))
        self._dies.append(len(self.ops))
        return result

    def append(self, op: ctypes.Structure, reads: Sequence[Tensor]) -> None:
        if self._memory is None:
            for tensor in reads:
                if (number := self._number_of.get(tensor.data_ptr())) is not None:
                    self._dies[number] = len(self.ops)
        self.ops.append(op)

    def lifetimes(self, kept: Sequence[Tensor]) -> list[Lifetime]:
        """Of all results of a draft; those in `kept` live until the end."""
        for tensor in kept:
            self._dies[self._number_of[tensor.data_ptr()]] = len(self.ops)
        return [Lifetime(*each) for each in zip(self._sizes, self._born, self._dies, strict=True)]


class Program:
    """Recorded ops, in two parts: everything up to the last hidden states, and the head.

    Ops know addresses alone: what lies there lives as long as the program.
    """

    def __init__(self, ops: Sequence[ctypes.Structure], head_begins: int, memory: Tensor, *alive: object) -> None:
        """memory: of all results; alive: what holds everything else that the ops name."""
        self._memory, self._alive = memory, alive
        self.whole = OpList(ops)
        self.head = OpList(ops[head_begins:])

    def poison(self) -> None:
        """Overwrite all results, hidden states too, with NaN."""
        self._memory.fill_(0xFF)


def record(record_on: Callable[[Tape], tuple[int, Sequence[Tensor]]], *alive: object) -> Program:
    """Record twice (see above). record_on records one pass on a tape and returns where the head's ops begin, and the
    results that stay until the end; alive: what holds the weights and the cache that the ops name."""
    draft = Tape()
    _, kept = record_on(draft)
    offsets, size = place(draft.lifetimes(kept))
    memory = torch.empty(size + ALIGNMENT, dtype=torch.uint8)
    begin = -memory.data_ptr() % ALIGNMENT
    tape = Tape(memory[begin : begin + size], offsets)
    head_begins, _ = record_on(tape)
    return Program(tape.ops, head_begins, memory, *alive)


def _aligned(num_bytes: int) -> int:
    return -(-num_bytes // ALIGNMENT) * ALIGNMENT
