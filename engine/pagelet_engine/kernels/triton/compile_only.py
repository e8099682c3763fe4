"""Compiles kernels for a named GPU on a machine that has none: what is launched is compiled, and not run.

`compiling` puts a stand-in for Triton's driver in place. A launcher, called with CPU tensors of real shapes, then takes
Triton's own path from arguments to binary, which leaves in Triton's cache the very entry that a GPU of this target
looks up: Triton's key is made of the kernel's source, the arguments' types and alignment, its options and the target,
and of nothing that only a device knows.

What a driver reports when it loads a binary (registers, bytes spilled) is read from the binary here. Refuses to know
which ops exist, and which shapes matter.
"""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import triton
from triton.backends.compiler import GPUTarget

from pagelet_engine.kernels.triton.target import Target


def targets() -> dict[str, Target]:
    """The GPUs that kernels are compiled for, by name."""
    return {
        "sm_80": Target("cuda", 80),  # A100
        "sm_86": Target("cuda", 86),  # A10, A40, RTX A6000
        "sm_89": Target("cuda", 89),  # L4, L40S
        "sm_90": Target("cuda", 90),  # H100, H200
        "sm_100": Target("cuda", 100),  # B200
        "sm_120": Target("cuda", 120),  # RTX PRO 6000
        "gfx942": Target("hip", "gfx942"),  # MI300
        "gfx950": Target("hip", "gfx950"),  # MI350
    }


@dataclass(frozen=True, slots=True)
class CompiledOp:
    name: str
    """The kernel's."""
    shared_bytes: int
    """Shared memory of a program."""
    registers: int
    """Vector registers of a thread."""
    spilled_bytes: int
    """Memory of a thread for what found no register; 0 is wanted. (AMD's scalars that spill into vector registers cost
    no memory, and are not counted.)"""
    binary: bytes


class TargetUnknown(Exception):
    """Kernels cannot be compiled for this target."""


@contextmanager
def compiling(target_name: str) -> Iterator[list[CompiledOp]]:
    """Within, every launch compiles for the target and runs nothing; yields the list that grows by each new kernel.

    A launch raises triton.runtime.errors.OutOfResources when the kernel needs more shared memory than the target has.
    """
    known = targets()
    if target_name not in known:
        raise TargetUnknown(f"kernels can be compiled for {', '.join(known)}; {target_name!r} is none of them")
    assert not triton.knobs.runtime.interpret, "TRITON_INTERPRET is set: kernels are interpreted, and never compiled"
    try:
        previous = triton.runtime.driver.active
    except RuntimeError:  # no GPU: nothing was active
        previous = None
    compiled: list[CompiledOp] = []
    triton.runtime.driver.set_active(_Driver(known[target_name], compiled))
    try:
        yield compiled
    finally:
        triton.runtime.driver.set_active(previous)


class _Driver:
    """As much of a Triton driver as a launch asks for."""

    def __init__(self, target: Target, compiled: list[CompiledOp]) -> None:
        self._target = target
        self._compiled = compiled
        # Triton keeps kernels by device, in this process: no two drivers share one, nor with a device that is there.
        self._device = object()
        self.utils = SimpleNamespace(
            load_binary=self._load_binary,
            unload_module=lambda module: None,
            get_device_properties=lambda device: {"max_shared_mem": target.shared_bytes},
        )

    def get_current_target(self) -> Any:
        return GPUTarget(self._target.backend, self._target.arch, 32 if self._target.backend == "cuda" else 64)

    def get_current_device(self) -> object:
        return self._device

    def get_current_stream(self, device: object) -> int:
        return 0

    def launcher_cls(self, source: object, metadata: object) -> Any:
        return lambda *launch: None

    def _load_binary(self, name: str, binary: bytes, shared_bytes: int, device: object) -> tuple[Any, ...]:
        read = _read_cubin if self._target.backend == "cuda" else _read_hsaco
        registers, spilled_bytes = read(binary)
        self._compiled.append(CompiledOp(name, shared_bytes, registers, spilled_bytes, binary))
        threads = 1024
        return object(), object(), registers, spilled_bytes // 4, threads


def _read_cubin(binary: bytes) -> tuple[int, int]:
    """(registers, spilled bytes) of an NVIDIA binary's one kernel."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        usage = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = dict(re.findall(r"\b(REG|STACK|LOCAL):(\d+)", usage))
    return int(found["REG"]), int(found["STACK"]) + int(found["LOCAL"])


def _read_hsaco(binary: bytes) -> tuple[int, int]:
    """The same of an AMD binary, whose notes are a MessagePack map from names to numbers."""

    def number(key: bytes) -> int:
        start = binary.index(key) + len(key)
        width = {0xCC: 1, 0xCD: 2, 0xCE: 4}.get(binary[start], 0)
        return int.from_bytes(binary[start + 1 : start + 1 + width], "big") if width else binary[start]

    return number(b".vgpr_count"), number(b".private_segment_fixed_size")
