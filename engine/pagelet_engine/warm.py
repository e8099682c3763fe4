"""`pagelet warm`: fills Triton's cache with all kernels that an engine may launch, on a machine with or without a GPU.

Owns arguments and what a person reads; what is launched is `worker.device.warming`'s, how it is compiled and not run
`kernels.triton.compile_only`'s.

An entry is found again by the same Pagelet and the same build of Triton alone: the cache is made with those of the
engine that it is for, best in its image.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import triton
from pagelet_api.config import ConfigError, EngineConfig
from triton.runtime.errors import TritonError

from pagelet_engine.kernels.triton.compile_only import TargetUnknown, compiling, targets
from pagelet_engine.kernels.triton.shipped_cache import SHIPPED_ENV, ShippedCache
from pagelet_engine.worker.blueprint import Blueprint, model_errors
from pagelet_engine.worker.device.warming import launch_everything
from pagelet_engine.worker.model_facts import ModelError


class WarmError(Exception):
    """Kernels that cannot be compiled; the message says what was wanted, what was found and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.cache:
        triton.knobs.cache.dir = str(options.cache.absolute())
    # What was compiled elsewhere in the file system is found, and what was shipped with this engine is made again.
    triton.knobs.cache.manager_class = ShippedCache
    os.environ[SHIPPED_ENV] = ""
    try:
        config = EngineConfig.read(options.config)
        with model_errors():
            blueprint = Blueprint.read(options.model, config)
        for target in options.target or [_own_target()]:
            print(warm(blueprint, config, target), flush=True)
    except (ConfigError, ModelError, TargetUnknown, WarmError) as error:
        print(f"pagelet warm: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def warm(blueprint: Blueprint, config: EngineConfig, target: str) -> str:
    """Compile for one target, into Triton's cache; → what was done. Raises TargetUnknown, ModelError and WarmError."""
    began_s = time.monotonic()
    hits: list[bool] = []

    def note(*, cache_hit: bool, **_: Any) -> None:
        hits.append(cache_hit)

    triton.knobs.compilation.listener = note
    try:
        with compiling(target), model_errors():
            launch_everything(blueprint, config, torch.device("meta"))
    except TritonError as error:
        reason = str(error).strip().splitlines()[-1]
        raise WarmError(f"{target}: a kernel of this configuration cannot be compiled for it: {reason}") from error
    finally:
        triton.knobs.compilation.listener = None
    seconds = time.monotonic() - began_s
    return f"{target}: {hits.count(False)} kernels compiled in {seconds:.1f} s, {hits.count(True)} were there already"


def _own_target() -> str:
    if not torch.cuda.is_available():
        raise WarmError(
            f"there is no GPU here whose kernels to compile; name one with --target: {', '.join(targets())}"
        )
    gpu = triton.runtime.driver.active.get_current_target()
    return f"sm_{gpu.arch}" if gpu.backend == "cuda" else str(gpu.arch)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pagelet_engine.warm",
        description="Compile all kernels that an engine of this configuration may launch on a GPU.",
    )
    parser.add_argument("--model", type=Path, required=True, help="model folder; of its files, config.json is read")
    parser.add_argument("--config", type=Path, required=True, help="the engine's configuration file")
    parser.add_argument(
        "--target", action="append", help="GPU to compile for, such as sm_90; may be repeated (default: the one here)"
    )
    parser.add_argument("--cache", type=Path, help="folder to fill (default: Triton's own)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
