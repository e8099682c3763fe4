"""Which backend computes on a CPU: C++ ops where they can, the reference everywhere else."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from pagelet_api.config import Quantization
from pagelet_api.sizes import ModelShape

from pagelet_engine.kernels.cpu.abi import Dtype
from pagelet_engine.kernels.cpu.build import LIBRARY
from pagelet_engine.kernels.cpu.library import CpuBackendUnavailable, Library, UnknownLevel
from pagelet_engine.kernels.cpu.limits import why_not
from pagelet_engine.layers.cpu import CpuBackend
from pagelet_engine.layers.reference import ReferenceBackend
from pagelet_engine.worker.model_facts import ModelError
from pagelet_engine.worker.threads import usable_cores

LEVEL_ENV = "PAGELET_CPU_INSTRUCTION_SET"
"""Names an instruction set to use instead of the best that the CPU has; REFERENCE: none of them."""
REFERENCE = "reference"


_WEIGHT_DTYPES = {Quantization.NONE: None, Quantization.INT8: Dtype.INT8, Quantization.INT4: Dtype.INT4}


@dataclass(frozen=True, slots=True)
class NativeOptions:
    """How the C++ ops are used, where they are; other than the default for a search after a fault, and for tests."""

    library: Path = LIBRARY
    """Another build of them: with sanitizers."""
    poisons: bool = False
    """Overwrite what a step was given when it has ended (step_buffers.py)."""


AS_SERVED = NativeOptions()


def choose_backend(
    dtype: torch.dtype, quantization: Quantization, shape: ModelShape, block_size: int, library: Path = LIBRARY
) -> ReferenceBackend | CpuBackend:
    """Says in one line when a CPU gets less than it could.

    Raises ModelError for an instruction set that the CPU does not have, and for a quantization that nothing computes
    with here.
    """
    # torch counts cores that a container may not use; OMP_NUM_THREADS, which it heeds, may ask for fewer.
    threads = min(torch.get_num_threads(), usable_cores())
    torch.set_num_threads(threads)
    level = os.environ.get(LEVEL_ENV, "")
    reason = f"{LEVEL_ENV} says so" if level == REFERENCE else why_not(shape, dtype, block_size)
    if reason is None:
        try:
            native = Library(library).open(threads, level)
        except CpuBackendUnavailable as unavailable:
            reason = str(unavailable)
        except UnknownLevel as unknown:
            raise ModelError(f"{LEVEL_ENV}: {unknown}") from unknown
    if reason is not None:
        _refuse_quantization(quantization, f"it cannot compute with its C++ ops: {reason}")
        print(f"pagelet engine: computing with the slow reference ops: {reason}", file=sys.stderr, flush=True)
        return ReferenceBackend(dtype, torch.device("cpu"))
    torch.set_num_threads(1)  # the backend's own threads do the work
    return CpuBackend(native, dtype, _WEIGHT_DTYPES[quantization])


def _refuse_quantization(quantization: Quantization, because: str) -> None:
    if quantization is not Quantization.NONE:
        raise ModelError(f"quantization: {quantization} wanted, a format of the C++ ops for CPUs, and {because}")
