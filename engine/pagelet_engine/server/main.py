"""The engine's command line: the core started, the configuration checked, the front run.

The core starts before anything here is imported that takes time, so that importing torch and mapping the weights go on
meanwhile.
"""

import argparse
import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from pagelet_api import names

from pagelet_engine import log
from pagelet_engine.server.core_child import CoreChild, core_command
from pagelet_engine.worker.ranks.place import follows
from pagelet_engine.worker.ranks.processes import RankCommand, rank_command

CoreCommand = Callable[[Path, Path, float, int], Sequence[str]]
"""The arguments of core_arguments → the core's command."""


def main(
    argv: Sequence[str] | None = None, command: CoreCommand = core_command, rank_command: RankCommand = rank_command
) -> NoReturn:
    """Run one engine until it is told to stop, or its core ends; then end the process with its exit code.

    In a pod that follows another one, run its ranks alone.
    """
    code = _run(argv, command, rank_command)
    log.flush()
    os._exit(code)  # nothing is left that an orderly end of the interpreter would do better: see _run


def _run(argv: Sequence[str] | None, command: CoreCommand, rank_command: RankCommand) -> int:
    started_s = time.monotonic()
    arguments = _parser().parse_args(argv)
    if not arguments.model.is_dir():
        return _refuse(f"there is no model folder {arguments.model}: make one with `pagelet import`")
    if follows(os.environ):
        return asyncio.run(_follow(arguments, rank_command))
    child = CoreChild(command(arguments.model, arguments.config, started_s, arguments.ranks_port))
    # Not asyncio.run: it cancels what is left in the end, and gRPC's tasks, which outlive their calls by a moment, each
    # print a traceback then, after our last line.
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(_serve(child, arguments))
    except KeyboardInterrupt:  # before the front listened to signals
        return 128 + signal.SIGINT
    finally:
        child.kill()


async def _serve(child: CoreChild, arguments: argparse.Namespace) -> int:
    # Imported here: the core should not wait for them.
    from pagelet_api.config import ConfigError, EngineConfig

    try:
        config = EngineConfig.read(arguments.config)
    except ConfigError as error:
        return _refuse(str(error))
    from pagelet_engine.server.front import Front, Listen

    listen = Listen(_listen_address(), arguments.grpc_port, arguments.ops_port)
    return await Front(child, config, arguments.model, listen).run()


async def _follow(arguments: argparse.Namespace, command: RankCommand) -> int:
    from pagelet_api.config import ConfigError, EngineConfig

    from pagelet_engine.server.following_pod import FollowingPod
    from pagelet_engine.worker.ranks.place import PlaceError, find_place

    try:
        config = EngineConfig.read(arguments.config)
        place = find_place(os.environ, config.tensor_parallel_size)
    except (ConfigError, PlaceError) as error:
        return _refuse(str(error))
    commands = {
        rank: command(arguments.model, arguments.config, place, rank, arguments.ranks_port) for rank in place.ranks
    }
    return await FollowingPod(commands, _listen_address(), arguments.ops_port, config.drain_timeout_s).run()


def _listen_address() -> str:
    return os.environ.get(names.LISTEN_ADDRESS_ENV, "127.0.0.1")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pagelet_engine.server", description="Serve one model over gRPC.")
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="the model folder")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the engine's configuration, JSON")
    parser.add_argument("--grpc-port", type=_port, default=names.ENGINE_GRPC_PORT, metavar="N", help="0: any")
    parser.add_argument("--ops-port", type=_port, default=names.ENGINE_OPS_PORT, metavar="N", help="0: any")
    parser.add_argument(
        "--ranks-port",
        type=_port,
        default=names.ENGINE_RANKS_PORT,
        metavar="N",
        help="of the pod that leads, for ranks in other pods",
    )
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"wanted a port, 0 to 65535, found {text!r}")
    return int(text)


def _refuse(sentence: str) -> int:
    log.say(sentence)
    return 1
