"""`python benchmarks/simulator`: a folder that is started as a script, like the files beside it."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # where `simulator` and what all benchmarks share are found

from simulator.commands import main  # noqa: E402

main()
