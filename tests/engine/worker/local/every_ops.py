"""The sampler's ops in every implementation: tests that take `ops` run with each."""

import pytest
from pagelet_engine.kernels.cpu.library import CpuBackendUnavailable, Library
from pagelet_engine.worker.local.sampling_ops import NativeSampling, SamplingOps, TorchSampling

from tests.engine.kernels.cpu.conftest import LIBRARY_UNDER_TEST


def all_ops() -> dict[str, SamplingOps]:
    """torch's, and C++'s at every instruction set that this CPU has."""
    found: dict[str, SamplingOps] = {"torch": TorchSampling()}
    try:
        library = Library(LIBRARY_UNDER_TEST)
    except CpuBackendUnavailable:
        return found
    return found | {level: NativeSampling(library.open(2, level)) for level in library.levels}


OPS = all_ops()
every_ops = pytest.mark.parametrize("ops", OPS.values(), ids=OPS.keys())
