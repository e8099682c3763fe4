"""Every kernel compiles for GPUs that are not here, keeps its numbers in registers, and fits into shared memory.

The cases are in `compile_cases_<op>.py` beside this file; each file is compiled in a process of its own, because this
one may have been told to interpret kernels. What was compiled once stays in build/triton, under a key of all that it is
made from.
"""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from pagelet_engine.kernels.triton.compile_only import TargetUnknown, compiling

HERE = Path(__file__).parent
CASE_FILES = sorted(HERE.glob("compile_cases_*.py"))
CACHE = HERE.parents[3] / "build" / "triton"
MOST_COMPILES = 60
"""Of one `make test`: each takes a second or two."""


@pytest.mark.parametrize("file", CASE_FILES, ids=lambda file: file.stem.removeprefix("compile_cases_"))
def test_kernels_compile_without_spilling_for_every_gpu(file: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    run = subprocess.run(
        [sys.executable, HERE / "compile_process.py", file],
        env=environment | {"TRITON_CACHE_DIR": str(CACHE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    outcomes = json.loads(run.stdout)
    cases = runpy.run_path(str(file))["CASES"]
    assert {(each["case"], each["target"]) for each in outcomes} == {
        (name, target) for name, (_, targets) in cases.items() for target in targets
    }
    assert [each for each in outcomes if "error" in each or each["spilled_bytes"] > 0] == []


def test_the_matrix_of_compiles_stays_small() -> None:
    cases = [case for file in CASE_FILES for case in runpy.run_path(str(file))["CASES"].values()]
    assert sum(len(targets) for _, targets in cases) <= MOST_COMPILES


def test_a_target_that_is_not_known_is_refused_with_those_that_are() -> None:
    with (
        pytest.raises(
            TargetUnknown, match=r"sm_80, sm_86, sm_89, sm_90, sm_100, sm_120, gfx942, gfx950; 'sm_75' is none"
        ),
        compiling("sm_75"),
    ):
        pass
