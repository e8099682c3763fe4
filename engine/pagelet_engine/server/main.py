"""The engine's command line: arguments and configuration checked, the core started, the front run.

The core starts before the front's own imports, so that importing torch and mapping the weights go on meanwhile.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pagelet_api import names
from pagelet_api.config import ConfigError, EngineConfig

from pagelet_engine.server.core_child import CoreChild, core_command

CoreCommand = Callable[[Path, Path, float], Sequence[str]]
"""(model folder, configuration file, this engine's start on the monotonic clock) → the core's command."""


def main(argv: Sequence[str] | None = None, command: CoreCommand = core_command) -> int:
    """Run one engine until it is told to stop, or its core ends; returns the exit code."""
    started_s = time.monotonic()
    arguments = _parser().parse_args(argv)
    try:
        config = EngineConfig.read(arguments.config)
    except ConfigError as error:
        return _refuse(str(error))
    if not arguments.model.is_dir():
        return _refuse(f"there is no model folder {arguments.model}: make one with `pagelet import`")
    child = CoreChild(command(arguments.model, arguments.config, started_s))
    try:
        return asyncio.run(_serve(child, config, arguments))
    finally:
        child.kill()


async def _serve(child: CoreChild, config: EngineConfig, arguments: argparse.Namespace) -> int:
    # Imported here: gRPC takes a while, and the core should not wait for it.
    from pagelet_engine.server.front import Front, Listen

    listen = Listen(os.environ.get(names.LISTEN_ADDRESS_ENV, "127.0.0.1"), arguments.grpc_port, arguments.ops_port)
    return await Front(child, config, arguments.model, listen).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pagelet_engine.server", description="Serve one model over gRPC.")
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="the model folder")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the engine's configuration, JSON")
    parser.add_argument("--grpc-port", type=_port, default=names.ENGINE_GRPC_PORT, metavar="N", help="0: any")
    parser.add_argument("--ops-port", type=_port, default=names.ENGINE_OPS_PORT, metavar="N", help="0: any")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"wanted a port, 0 to 65535, found {text!r}")
    return int(text)


def _refuse(sentence: str) -> int:
    print(f"pagelet engine: {sentence}", file=sys.stderr)
    return 1
