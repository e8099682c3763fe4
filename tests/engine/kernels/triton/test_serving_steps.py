"""Whatever a step's size, it runs what the first one compiled."""

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE.parents[3] / "build" / "triton"


def test_no_step_compiles_what_another_has_compiled_in_another_size() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    run = subprocess.run(
        [sys.executable, HERE / "serving_steps.py"],
        env=environment | {"TRITON_CACHE_DIR": str(CACHE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    first, *others = json.loads(run.stdout)
    assert len(first) == 7
    assert others == [[]] * len(others)
