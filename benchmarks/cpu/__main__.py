"""`python benchmarks/cpu`: a folder that is started as a script, like the files beside it."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # where `cpu` and what all benchmarks share are found

from cpu.comparison import main  # noqa: E402

main()
