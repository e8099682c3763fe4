"""The library under test, at every instruction set that this CPU has, and steps over a pool full of NaN."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from ctypes import POINTER, cast
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from pagelet_engine.kernels.cpu.abi import GroupStep, KvLayer, Step
from pagelet_engine.kernels.cpu.build import LIBRARY
from pagelet_engine.kernels.cpu.library import CpuBackendUnavailable, Library
from pagelet_engine.kernels.cpu.ops import CpuOps

IntArray = npt.NDArray[np.int64]

LIBRARY_UNDER_TEST = Path(os.environ.get("PAGELET_TEST_LIBRARY", LIBRARY))
"""Another build of the same sources, with sanitizers."""


def usable_levels() -> tuple[str, ...]:
    try:
        return Library(LIBRARY_UNDER_TEST).levels
    except CpuBackendUnavailable:
        return ()


@pytest.fixture
def library() -> Library:
    try:
        return Library(LIBRARY_UNDER_TEST)
    except CpuBackendUnavailable as missing:
        pytest.skip(f"missing: the C++ ops ({missing})")


@pytest.fixture(params=usable_levels() or ["none"])
def level(request: pytest.FixtureRequest) -> str:
    """Every instruction set, one after the other."""
    return request.param


@pytest.fixture
def make_ops(library: Library, level: str) -> Iterator[Callable[..., CpuOps]]:
    """(threads) → the ops at this level."""
    opened = []

    def make(num_threads: int = 2) -> CpuOps:
        opened.append(CpuOps(library.open(num_threads, level)))
        return opened[-1]

    yield make
    for each in opened:
        each.native.close()


@pytest.fixture
def ops(make_ops: Callable[..., CpuOps]) -> CpuOps:
    return make_ops()


@dataclass(frozen=True)
class Sequence_:
    """One sequence of a step: `start` tokens are in the cache already, `length` are computed now."""

    start: int
    length: int
    blocks: tuple[int, ...]


@dataclass
class Cache:
    """One layer's cache, NaN wherever nobody wrote, and the keys and values that it should hold."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    block_size: int
    dtype: torch.dtype
    num_blocks: int = 64
    window: int = 0
    layers: int = 2
    pages: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        row = 2 * self.num_kv_heads * self.head_dim
        self.pages = torch.full((self.num_blocks, self.layers, self.block_size * row), math.nan, dtype=self.dtype)

    def layer(self) -> KvLayer:
        """The second of two, so that strides matter."""
        stride = self.pages.itemsize * self.pages.stride(0)
        return KvLayer(
            self.pages[:, 1].data_ptr(),
            stride,
            self.block_size,
            0,
            self.num_heads,
            self.num_kv_heads,
            self.head_dim,
        )


@dataclass
class HeldStep:
    """A step with the arrays that it names."""

    step: Step
    starts: IntArray
    lengths: IntArray
    slots: IntArray
    others: Sequence[object]


def step_of(
    sequences: Sequence[Sequence_], block_size: int, window: int = 0, token_ids: Sequence[int] | None = None
) -> HeldStep:
    tables = np.full((len(sequences), max(len(each.blocks) for each in sequences)), -1, np.int64)
    for row, each in enumerate(sequences):
        tables[row, : len(each.blocks)] = each.blocks
    starts = np.array([each.start for each in sequences], np.int64)
    lengths = np.array([each.length for each in sequences], np.int64)
    slots = np.arange(len(sequences))
    total = int(lengths.sum())
    tokens = np.array(range(total) if token_ids is None else token_ids, np.int64)
    groups = (GroupStep * 1)(GroupStep(tables.ctypes.data, *tables.shape, block_size, window))
    step = Step(
        num_tokens=total,
        num_sequences=len(sequences),
        token_ids=tokens.ctypes.data,
        starts=starts.ctypes.data,
        lengths=lengths.ctypes.data,
        slots=slots.ctypes.data,
        groups=cast(groups, POINTER(GroupStep)),
        num_groups=1,
    )
    return HeldStep(step, starts, lengths, slots, (tables, tokens, groups))
