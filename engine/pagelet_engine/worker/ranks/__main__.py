"""`python -m pagelet_engine.worker.ranks`: one rank, as the engine starts it."""

import sys

from pagelet_engine.worker.ranks.follower import RankKind, main


def import_torch_rank() -> RankKind:
    """The real rank; takes the seconds that importing torch takes."""
    from pagelet_engine.worker.model_facts import ModelError
    from pagelet_engine.worker.ranks.loading import load_other_rank

    return RankKind(load_other_rank, ModelError)


if __name__ == "__main__":
    sys.exit(main(None, import_torch_rank))
