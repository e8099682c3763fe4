"""Where one tensor of a checkpoint goes."""

from dataclasses import dataclass

from torch import Tensor


class WeightsError(Exception):
    """A checkpoint that cannot be loaded; the message names file and tensor, what was wanted and what was found."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A parameter, or the rows of a fused one that this tensor fills."""

    into: Tensor

    def fill(self, name: str, tensor: Tensor) -> None:
        """Copy, converting to the parameter's dtype and device. Raises WeightsError for another shape."""
        if tensor.shape != self.into.shape:
            raise WeightsError(
                f"tensor {name} has shape {tuple(tensor.shape)}, config.json wants {tuple(self.into.shape)}; "
                "the weights belong to another configuration"
            )
        self.into.copy_(tensor)
