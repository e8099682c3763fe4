"""`python benchmarks/gpu`: a folder that is started as a script, like `cpu` beside it."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # where `gpu` and what all benchmarks share are found

from gpu.suite import main  # noqa: E402

main()
