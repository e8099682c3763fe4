"""`python -m pagelet_operator.cli`: the command line where no script is installed."""

import sys

from pagelet_operator.cli import main

if __name__ == "__main__":
    sys.exit(main())
