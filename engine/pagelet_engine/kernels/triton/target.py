"""Which GPU a launch is for, as far as the choice of tile sizes needs to know.

Refuses to know whether that GPU is there: under `compile_only` it is not, and the interpreter has none.
"""

from dataclasses import dataclass

import triton

_KIB = 1024


@dataclass(frozen=True, slots=True)
class Target:
    backend: str
    """"cuda" or "hip"."""
    arch: int | str
    """NVIDIA: 10 × major + minor of the compute capability; AMD: the name, "gfx942"."""

    @property
    def shared_bytes(self) -> int:
        """Shared memory that one program may have."""
        if self.backend == "hip":
            return 64 * _KIB
        # The large parts, of data centres; the others of each generation (8.6, 8.9, 12.0) have less.
        return {80: 163, 87: 163, 90: 227, 100: 227, 103: 227}.get(int(self.arch), 99) * _KIB


def current_target() -> Target:
    """The target of launches made now; interpreted ones are given the tiles of an H100."""
    if triton.knobs.runtime.interpret:
        return Target("cuda", 90)
    gpu = triton.runtime.driver.active.get_current_target()
    return Target(gpu.backend, gpu.arch)
