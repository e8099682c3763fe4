"""What this machine can do at most, measured by limits.cc, which is compiled here and now by the system's compiler."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cpu.floor import Rates

_SOURCE = Path(__file__).with_name("limits.cc")
_COMPILERS = ("c++", "g++", "clang++")
_FLAGS = ("-std=c++17", "-O3", "-march=native", "-pthread")
_PASSES = 25
DRAM_BYTES = 2 * 2**30
"""A read of this much comes from DRAM even where a cache is of some hundred megabytes."""
DOTS_OF_DTYPE = {"float32": ("fp32",), "bfloat16": ("fp32", "avx512_bf16", "amx_bf16")}
"""The instructions with which numbers of a type can be multiplied and added in fp32: bf16 also by widening it."""


class LimitsFailed(Exception):
    """There is no compiler, or it or its program failed; the message says how."""


@dataclass(frozen=True, slots=True)
class Limits:
    flops_per_s: dict[str, float]
    """By instruction set: the best of all passes."""
    dram_bytes_per_s: float
    weights_bytes_per_s: float
    """Reading as many bytes as the weights have, again and again: more than DRAM gives where a cache holds them."""

    def best_dot(self, dtype: str) -> str:
        """The fastest instruction set for numbers of this type."""
        return max(
            (name for name in DOTS_OF_DTYPE[dtype] if name in self.flops_per_s), key=self.flops_per_s.__getitem__
        )

    def rates(self, dot: str) -> Rates:
        return Rates(self.flops_per_s[dot], self.dram_bytes_per_s)


class LimitsProgram:
    """limits.cc, compiled."""

    def __init__(self, folder: Path) -> None:
        self._binary = folder / "limits"
        compiler = next((found for name in _COMPILERS if (found := shutil.which(name))), None)
        if not compiler:
            raise LimitsFailed(f"wanted a C++ compiler, found none of {', '.join(_COMPILERS)}; install one (g++)")
        _output([compiler, *_FLAGS, str(_SOURCE), "-o", str(self._binary)])

    def measure(self, threads: int, weight_bytes: int) -> Limits:
        sizes = (str(DRAM_BYTES), str(weight_bytes))
        found: dict[str, dict[str, Any]] = json.loads(_output([str(self._binary), str(threads), str(_PASSES), *sizes]))
        dram, weights = (found["bytes_per_s"][size]["best"] for size in sizes)
        return Limits({name: rate["best"] for name, rate in found["flops_per_s"].items()}, dram, weights)


def measured(threads: int, weight_bytes: int) -> Limits:
    """Compile and measure once. Raises LimitsFailed."""
    with tempfile.TemporaryDirectory(prefix="pagelet-limits-") as folder:
        return LimitsProgram(Path(folder)).measure(threads, weight_bytes)


def best_of(several: Iterable[Limits]) -> Limits:
    """A limit is what was reached at least once."""
    several = list(several)
    names = several[0].flops_per_s
    return Limits(
        {name: max(limits.flops_per_s[name] for limits in several) for name in names},
        max(limits.dram_bytes_per_s for limits in several),
        max(limits.weights_bytes_per_s for limits in several),
    )


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise LimitsFailed(f"{command[0]}: {getattr(error, 'stderr', '') or error}") from error
