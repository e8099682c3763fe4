"""The engine as it is, but for the worker: run as a program, it is the front; with `--pipe`, the core."""

import sys
from pathlib import Path

from fake_worker import import_fake_worker
from pagelet_engine.server import core_process, main


def core_command(model_dir: Path, config_file: Path, started_s: float) -> list[str]:
    arguments = ["--model", str(model_dir), "--config", str(config_file), "--started-s", str(started_s)]
    return [sys.executable, __file__, *arguments]


if __name__ == "__main__":
    if "--pipe" in sys.argv:
        sys.exit(core_process.main(import_worker=import_fake_worker))
    main.main(command=core_command)
