"""`python -m pagelet_engine.server --model DIR --config FILE`: one engine."""

import sys

from pagelet_engine.server.main import main

if __name__ == "__main__":
    sys.exit(main())
