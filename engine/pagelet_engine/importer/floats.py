"""The floating-point types of checkpoints: their names, sizes, and conversion through float32.

numpy has no bfloat16, so its elements travel as uint16 bits. Rounding is to nearest, ties to even: the same bits as
torch's `.to(dtype)`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Float:
    safetensors_name: str
    bits: type[np.generic]
    """What numpy holds its elements as."""
    from_float32: Callable[[NDArray[np.float32]], np.ndarray]
    to_float32: Callable[[np.ndarray], NDArray[np.float32]]

    @property
    def num_bytes(self) -> int:
        return np.dtype(self.bits).itemsize


def _bfloat16_from(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    bits = values.view(np.uint32)
    # Half of the dropped part, one less when the kept part is even: a tie then goes to the even neighbour.
    rounded = ((bits + (np.uint32(0x7FFF) + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    not_a_number = (bits & 0x7FFFFFFF) > 0x7F800000
    if not_a_number.any():
        rounded[not_a_number] = 0x7FC0  # rounding could carry a NaN over into infinity or zero
    return rounded


def _bfloat16_to(bits: np.ndarray) -> NDArray[np.float32]:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _float16_from(values: NDArray[np.float32]) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        return values.astype(np.float16)


FLOATS: dict[str, Float] = {
    "bfloat16": Float("BF16", np.uint16, _bfloat16_from, _bfloat16_to),
    "float16": Float("F16", np.float16, _float16_from, lambda bits: bits.astype(np.float32)),
    "float32": Float("F32", np.float32, lambda values: values, lambda bits: bits),
}
