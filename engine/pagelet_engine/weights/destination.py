"""Where one tensor of a checkpoint goes, and which part of it this process holds."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, Self

from torch import Tensor

_PIECE_BYTES = 64 << 20
"""What is copied at once: a part that is no contiguous piece of the file passes through host memory, if it goes to
another device."""


class WeightsError(Exception):
    """A checkpoint that cannot be loaded; the message names file and tensor, what was wanted and what was found."""


class Destination(Protocol):
    @property
    def num_bytes(self) -> int:
        """Of the parameter, or the part of it, that is filled."""
        ...

    def fill(self, name: str, tensor: Tensor) -> None:
        """Take the tensor, or a part of it, converting it. `tensor` is a view of the mapped file: what is not looked at
        is not read. Raises WeightsError for another shape."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """Rows, and columns if it is a matrix, of a checkpoint's tensor."""

    shape: tuple[int, ...]
    """Of the whole tensor."""
    rows: slice = field(default_factory=lambda: slice(None))
    columns: slice = field(default_factory=lambda: slice(None))

    @property
    def num_rows(self) -> int:
        return len(range(*self.rows.indices(self.shape[0])))

    @property
    def bias(self) -> Self:
        """The same rows of the vector that goes with the matrix."""
        return type(self)(self.shape[:1], self.rows)

    def of(self, name: str, tensor: Tensor) -> Tensor:
        """A view of these rows and columns. Raises WeightsError when the whole has another shape."""
        check_shape(name, tensor, self.shape)
        rows = tensor[self.rows]
        return rows if tensor.dim() == 1 else rows[:, self.columns]

    def pieces(self, name: str, tensor: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """The same, some rows at a time: which of the part's rows, and what they hold."""
        source = self.of(name, tensor)
        if source.numel() == 0:
            return
        piece_rows = max(1, _PIECE_BYTES * len(source) // source.nbytes)
        for first in range(0, len(source), piece_rows):
            piece = slice(first, first + piece_rows)
            yield piece, source[piece]


@dataclass(frozen=True, slots=True)
class TensorPart:
    """A parameter, or the rows of a fused one, that part of a tensor fills."""

    into: Tensor
    part: Part
    offset: float = 0.0
    """Added to each number, after it is converted: some checkpoints store how far a weight is from one."""

    @classmethod
    def whole(cls, into: Tensor, offset: float = 0.0) -> Self:
        return cls(into, Part(tuple(into.shape)), offset)

    @property
    def num_bytes(self) -> int:
        return self.into.nbytes

    def fill(self, name: str, tensor: Tensor) -> None:
        """Copy, converting to the parameter's dtype and device. Raises WeightsError for another shape."""
        source = self.part.of(name, tensor)
        assert source.shape == self.into.shape, (name, source.shape, self.into.shape)
        for rows, piece in self.part.pieces(name, tensor):
            self.into[rows].copy_(piece)
        if self.offset:
            self.into.add_(self.offset)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A tensor that another rank holds."""

    shape: tuple[int, ...]
    num_bytes = 0

    def fill(self, name: str, tensor: Tensor) -> None:
        check_shape(name, tensor, self.shape)


def check_shape(name: str, tensor: Tensor, wanted: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != tuple(wanted):
        raise WeightsError(
            f"tensor {name} has shape {tuple(tensor.shape)}, config.json wants {tuple(wanted)}; "
            "the weights belong to another configuration"
        )
