"""Where one tensor of a checkpoint goes."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class WeightsError(Exception):
    """A checkpoint that cannot be loaded; the message names file and tensor, what was wanted and what was found."""


class Destination(Protocol):
    @property
    def num_bytes(self) -> int:
        """Of the parameter, or the part of it, that is filled."""
        ...

    def fill(self, name: str, tensor: Tensor) -> None:
        """Take the tensor, converting it. Raises WeightsError for another shape."""
        ...


@dataclass(frozen=True, slots=True)
class TensorRows:
    """A parameter, or the rows of a fused one that the tensor fills."""

    into: Tensor

    @property
    def num_bytes(self) -> int:
        return self.into.nbytes

    def fill(self, name: str, tensor: Tensor) -> None:
        """Copy, converting to the parameter's dtype and device. Raises WeightsError for another shape."""
        check_shape(name, tensor, self.into.shape)
        self.into.copy_(tensor)


def check_shape(name: str, tensor: Tensor, wanted: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != tuple(wanted):
        raise WeightsError(
            f"tensor {name} has shape {tuple(tensor.shape)}, config.json wants {tuple(wanted)}; "
            "the weights belong to another configuration"
        )
