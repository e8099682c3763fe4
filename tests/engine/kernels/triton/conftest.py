"""Where the Triton kernels run: natively where a GPU is, else in Triton's interpreter on the CPU.

The same test functions serve both. On a GPU they carry the mark `gpu`; on a CPU they need TRITON_INTERPRET=1 in the
environment of the whole process, since Triton decides at its import what a kernel is.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    native = torch.cuda.is_available() and not triton.knobs.runtime.interpret
    for item in items:
        if HERE in item.path.parents and "device" in getattr(item, "fixturenames", ()):
            # The interpreter computes with numpy, which warns of what rows that nobody reads may hold.
            item.add_marker(pytest.mark.gpu if native else pytest.mark.filterwarnings("ignore::RuntimeWarning"))


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Where the tensors of a kernel's test go."""
    if triton.knobs.runtime.interpret:
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    pytest.skip("missing: a GPU, or TRITON_INTERPRET=1 in the environment for Triton's interpreter on the CPU")


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded source of numbers on the CPU: the same ones everywhere, moved to `device` when made."""
    return torch.Generator().manual_seed(20260101)


@pytest.fixture(scope="session", autouse=True)
def dots_of_bfloat16() -> Iterator[None]:
    """Triton's interpreter keeps bfloat16 as its 16 bits, and multiplies those as integers in `tl.dot`."""
    original = InterpreterBuilder.create_dot

    def create_dot(builder: InterpreterBuilder, left: Any, right: Any, *rest: Any) -> Any:
        def widened(operand: Any) -> Any:
            return builder.cast_impl(operand, tl.float32) if operand.dtype.scalar == tl.bfloat16 else operand

        return original(builder, widened(left), widened(right), *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InterpreterBuilder, "create_dot", create_dot)
        yield
