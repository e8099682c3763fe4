"""Compiles native/ into one shared library: five instruction sets, one file each, and what they share.

Standard library alone, and importing nothing of Pagelet: the build hook runs it before Pagelet is installed, and so
does `make`, as a script.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

NATIVE = Path(__file__).parent / "native"
LIBRARY = Path(__file__).parent / "libpagelet_cpu.so"

FLAGS = (
    "-std=c++20",
    "-O2",
    "-ftree-vectorize",
    "-ffp-contract=fast",  # a·b + c in one rounding where the instruction set has it
    "-fPIC",
    "-fvisibility=hidden",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-psabi",
)
LINK_FLAGS = (
    "-shared",
    "-pthread",
    "-static-libstdc++",
    "-static-libgcc",
    "-Wl,--exclude-libs,ALL",
    "-Wl,--no-undefined",
)
SHARED = ("backend", "check", "levels", "packing", "plan", "pool")

_AVX2 = ("-mavx2", "-mfma")
_AVX512 = (*_AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512")
_AVX512_BF16 = (*_AVX512, "-mavx512bf16")
LEVELS = {
    "portable": (),
    "avx2": _AVX2,
    "avx512": _AVX512,
    "avx512_bf16": _AVX512_BF16,
    "amx_bf16": (*_AVX512_BF16, "-mamx-tile", "-mamx-bf16"),
}
"""Each instruction set of x86-64 with its flags; elsewhere there is the portable one (NEON, on arm64) alone."""


class BuildError(Exception):
    """There is no compiler, or it refuses; the message says what it was asked and what it said."""


def compiler() -> str | None:
    """The C++ compiler: $CXX, or the first that is found."""
    wanted = os.environ.get("CXX")
    return wanted or next(filter(None, map(shutil.which, ("g++", "clang++", "c++"))), None)


def build(library: Path = LIBRARY, extra: Sequence[str] = ()) -> None:
    """Compile into `library`, with `extra` flags for compiler and linker. Raises BuildError."""
    if (cxx := compiler()) is None:
        raise BuildError("wanted a C++20 compiler (g++ 12 or clang++ 15, or newer) as $CXX or on the PATH, found none")
    command = [*shlex.split(cxx), *FLAGS, *extra]
    levels = LEVELS if platform.machine() in ("x86_64", "AMD64") else {"portable": ()}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = [Path(folder) / f"{name}.o" for name in (*levels, *SHARED)]
        commands = [
            [*command, *flags, f"-DPAGELET_LEVEL={name}", "-c", str(NATIVE / "level.cpp"), "-o", f"{folder}/{name}.o"]
            for name, flags in levels.items()
        ] + [[*command, "-c", str(NATIVE / f"{name}.cpp"), "-o", f"{folder}/{name}.o"] for name in SHARED]
        list(pool.map(_run, commands))
        fresh = library.with_suffix(".new")
        _run([*command, *map(str, objects), *LINK_FLAGS, "-o", str(fresh)])
        fresh.replace(library)  # whoever has the old one loaded keeps it


def build_if_stale() -> None:
    """Compile unless the library is newer than everything that it is made of. Raises BuildError."""
    sources = (Path(__file__), *NATIVE.iterdir())
    if not LIBRARY.exists() or LIBRARY.stat().st_mtime < max(source.stat().st_mtime for source in sources):
        build()


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BuildError(f"{shlex.join(command)}\n{done.stderr}")


if __name__ == "__main__":
    try:
        if len(sys.argv) > 1:  # another library, with more flags
            build(Path(sys.argv[1]), sys.argv[2:])
        else:
            build_if_stale()
    except BuildError as error:
        sys.exit(f"kernels/cpu: {error}")
