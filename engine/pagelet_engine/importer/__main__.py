"""The command: arguments in, one line out."""

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m pagelet_engine.importer",
        description="Turn a GGUF file or a Hugging Face folder into a verified model folder.",
    )
    parser.add_argument("source", type=Path, help="a .gguf file, or a folder with config.json and *.safetensors")
    parser.add_argument("destination", type=Path, help="the model folder to make")
    parser.add_argument(
        "--dtype",
        choices=("bfloat16", "float16", "float32"),
        help="type of the weights (default: a folder's own; bfloat16 for GGUF)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing model folder")
    options = parser.parse_args(arguments)
    try:
        from pagelet_engine.importer.model_import import import_model
        from pagelet_engine.importer.progress import progress_bar
        from pagelet_engine.importer.refusal import ImportRefused
    except ModuleNotFoundError as error:
        return _fail(f"the package {error.name} is missing; install pagelet[local]")

    started_s = time.monotonic()
    try:
        imported = import_model(
            options.source,
            options.destination,
            progress=progress_bar,
            dtype=options.dtype,
            overwrite=options.overwrite,
        )
    except ImportRefused as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("interrupted; nothing was left behind")
    print(
        f"{options.destination}: {imported.architecture}, {imported.parameters / 1e6:,.1f} M parameters, "
        f"{imported.weight_bytes / 1e6:,.0f} MB, {imported.digest} ({time.monotonic() - started_s:.1f} s)"
    )
    return 0


def _terminate(number: int, frame: FrameType | None) -> None:
    # As an exception, so that the half-made folder is removed on the way out.
    raise KeyboardInterrupt


def _fail(message: str) -> int:
    print(f"import failed: {' '.join(message.split())}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(main())
