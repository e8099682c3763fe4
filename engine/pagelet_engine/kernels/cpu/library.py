"""The shared library: found, loaded, asked what this CPU can do; one open backend with its threads.

Refuses to know torch: addresses go in, numbers come out.
"""

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, byref, cast
from pathlib import Path

from pagelet_engine.kernels.cpu import abi
from pagelet_engine.kernels.cpu.build import LIBRARY


class CpuBackendUnavailable(Exception):
    """The library is not there, or is another version's; the sentence says what to do."""


class UnknownLevel(Exception):
    """An instruction set was asked for that this CPU, or this build, does not have."""


class Library:
    """The loaded library."""

    def __init__(self, path: Path = LIBRARY) -> None:
        """Raises CpuBackendUnavailable."""
        if not path.exists():
            raise CpuBackendUnavailable(f"{path.name} was not built: install a C++ compiler and install Pagelet again")
        try:
            self._library = ctypes.CDLL(str(path))
            abi.declare(self._library)
            found = self._library.pagelet_abi_version()
        except (OSError, AttributeError) as error:
            raise CpuBackendUnavailable(f"{path.name} cannot be loaded ({error}): install Pagelet again") from error
        if found != abi.ABI_VERSION:
            raise CpuBackendUnavailable(
                f"{path.name} speaks version {found}, wanted {abi.ABI_VERSION}: install Pagelet again"
            )

    @property
    def levels(self) -> tuple[str, ...]:
        """Instruction sets that this CPU can execute, best first."""
        names: bytes = self._library.pagelet_levels()
        return tuple(names.decode().split(","))

    def open(self, num_threads: int, level: str = "") -> "NativeBackend":
        """A backend with its own threads; level: the best, or the one of this name. Raises UnknownLevel."""
        chosen = level or self.levels[0]
        if chosen not in self.levels:
            raise UnknownLevel(f"instruction set: wanted {chosen!r}, this CPU has {', '.join(self.levels)}")
        handle = ctypes.c_void_p()
        if failure := self._library.pagelet_open(chosen.encode(), num_threads, byref(handle)):
            raise UnknownLevel(f"instruction set {chosen}: {failure.decode()}")
        return NativeBackend(self._library, handle, chosen, num_threads)


class OpList:
    """Ops in the order in which they run, held here with the program that names them."""

    def __init__(self, ops: Sequence[ctypes.Structure]) -> None:
        self._ops = tuple(ops)
        addresses = (ctypes.c_void_p * len(ops))(*map(ctypes.addressof, ops))
        num_plans = max(map(_plans_of, ops), default=0)
        self.program = abi.Program(cast(addresses, POINTER(ctypes.c_void_p)), len(ops), num_plans)


class NativeBackend:
    """Threads and an instruction set. One call at a time."""

    def __init__(self, library: ctypes.CDLL, handle: ctypes.c_void_p, level: str, num_threads: int) -> None:
        self._library, self._handle = library, handle
        self.level, self.num_threads = level, num_threads

    def run(self, ops: OpList, step: abi.Step) -> None:
        """Run the ops over the step. What its pointers name, and theirs, must be alive; nothing of it is kept."""
        failure = self._library.pagelet_run(self._handle, byref(ops.program), byref(step))
        assert failure is None, failure.decode()

    def pack(self, job: abi.PackJob) -> None:
        self._library.pagelet_pack(self._handle, byref(job))

    def draw(self, rows: "ctypes.Array[abi.DrawRow]", vocab_size: int) -> None:
        self._library.pagelet_draw(self._handle, rows, len(rows), vocab_size)

    def logprobs(self, rows: "ctypes.Array[abi.LogprobRow]", vocab_size: int) -> None:
        self._library.pagelet_logprobs(self._handle, rows, len(rows), vocab_size)

    def close(self) -> None:
        """End the threads. Nothing may be asked of it afterwards."""
        if self._handle:
            self._library.pagelet_close(self._handle)
            self._handle = ctypes.c_void_p()


def _plans_of(op: ctypes.Structure) -> int:
    """How many KV groups must have a plan for the op: its own and those before it. Positions are the same in all."""
    if isinstance(op, abi.RopeKvWriteOp | abi.PagedAttentionOp):
        group: int = op.kv.group
        return group + 1
    return int(isinstance(op, abi.RotaryOp))
