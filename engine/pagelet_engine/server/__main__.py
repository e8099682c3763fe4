"""`python -m pagelet_engine.server --model DIR --config FILE`: one engine."""

from pagelet_engine.server.main import main

if __name__ == "__main__":
    main()
