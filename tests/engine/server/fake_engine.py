"""The engine as it is, but for what computes: run as a program, it is the front; with `--pipe`, the core; with
`--rank`, another rank."""

import sys
from pathlib import Path

from fake_ranks import import_fake_rank, import_fake_worker
from pagelet_engine.server import core_process, main
from pagelet_engine.server.core_child import core_arguments
from pagelet_engine.worker.ranks import follower
from pagelet_engine.worker.ranks.place import Place
from pagelet_engine.worker.ranks.processes import rank_arguments


def core_command(model_dir: Path, config_file: Path, started_s: float, ranks_port: int) -> list[str]:
    return [sys.executable, __file__, *core_arguments(model_dir, config_file, started_s, ranks_port)]


def rank_command(model_dir: Path, config_file: Path, place: Place, rank: int, port: int) -> list[str]:
    return [sys.executable, __file__, *rank_arguments(model_dir, config_file, place, rank, port)]


if __name__ == "__main__":
    if "--pipe" in sys.argv:
        sys.exit(core_process.main(import_worker=import_fake_worker, rank_command=rank_command))
    if "--rank" in sys.argv:
        sys.exit(follower.main(None, import_fake_rank))
    main.main(command=core_command, rank_command=rank_command)
