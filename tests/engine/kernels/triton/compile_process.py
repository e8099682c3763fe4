"""python compile_process.py FILE: compiles every case of FILE for its targets, and prints what came of it.

FILE exposes CASES: name → (a function that calls a launcher with CPU tensors, names of targets). Prints a JSON list of
{case, target, kernel, shared_bytes, registers, spilled_bytes} for each kernel that a case launched, or
{case, target, error} for one that failed. (Triton refuses what needs more shared memory than the target has.)
"""

import json
import runpy
import sys
from collections.abc import Iterator

from pagelet_engine.kernels.triton.compile_only import compiling


def outcomes(file: str) -> Iterator[dict[str, object]]:
    for name, (launch, targets) in runpy.run_path(file)["CASES"].items():
        for target in targets:
            case = {"case": name, "target": target}
            with compiling(target) as compiled:
                try:
                    launch()
                except Exception as error:
                    yield case | {"error": f"{type(error).__name__}: {error}"}
            for op in compiled:
                yield case | {
                    "kernel": op.name,
                    "shared_bytes": op.shared_bytes,
                    "registers": op.registers,
                    "spilled_bytes": op.spilled_bytes,
                }


if __name__ == "__main__":
    print(json.dumps(list(outcomes(sys.argv[1]))))
