"""The core's process: an engine started, its pipe served until the front closes it, its last words said.

Started by the front alone (core_child.py), and never outlives it. It is rank 0, starts the other ranks of its pod, and
takes them along when it ends. Only ranks import torch.
"""

import argparse
import gc
import json
import os
import secrets
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path

from pagelet_api import inference_pb2 as pb
from pagelet_api import names
from pagelet_api.config import ConfigError, EngineConfig

from pagelet_engine.child_process import end_with_parent
from pagelet_engine.core.request import Request
from pagelet_engine.server import pipe_pb2 as pipe
from pagelet_engine.server.conversion import to_request
from pagelet_engine.server.core_channel import CoreChannel, PipeClosed
from pagelet_engine.server.core_loop import HEARTBEAT_S, CoreLoop
from pagelet_engine.server.start import StartError, WorkerKind, start_engine
from pagelet_engine.server.startup_clock import StartupClock
from pagelet_engine.server.step_reports import StepReports
from pagelet_engine.worker.ranks.crew import Crew, CrewError
from pagelet_engine.worker.ranks.facts import common_facts
from pagelet_engine.worker.ranks.messages import Hello
from pagelet_engine.worker.ranks.place import LOOPBACK, Place, PlaceError, find_place
from pagelet_engine.worker.ranks.processes import RankCommand, rank_command

GOODBYE_S = 2.0
"""How long the front may take to read the last words."""

EXPLAIN_S = 2.0
"""How long an error of ours may wait to turn out as another rank's death."""


def import_torch_worker(crew: Crew | None) -> WorkerKind:
    """The real worker, alone or with a crew of other ranks; takes the seconds that importing torch takes."""
    from pagelet_engine.worker.loading import load_worker
    from pagelet_engine.worker.model_facts import ModelError

    if crew is None:
        return WorkerKind(load_worker, ModelError)
    from pagelet_engine.worker.ranks.loading import load_first_rank

    return WorkerKind(partial(load_first_rank, crew), ModelError)


def main(
    argv: Sequence[str] | None = None,
    import_worker: Callable[[Crew | None], WorkerKind] = import_torch_worker,
    rank_command: RankCommand = rank_command,
) -> int:
    """Serve the pipe until the front closes it; returns the exit code."""
    arguments = _parser().parse_args(argv)
    end_with_parent()
    channel = CoreChannel(socket.socket(fileno=arguments.pipe))
    try:
        channel.check_open()  # a front that died before it could take us along
        config = EngineConfig.read(arguments.config)
        place = find_place(os.environ, config.tensor_parallel_size)
        with _crew(arguments, config, place, rank_command, channel) as crew:
            _serve(arguments, config, lambda: import_worker(crew), channel, crew)
    except PipeClosed:
        return 0  # the front has what it wanted, or has gone
    except (StartError, ConfigError, PlaceError, CrewError) as error:
        return _last_words(channel, str(error))
    except Exception as error:  # a bug, or a device that failed: the whole story for us, a line for the front
        traceback.print_exception(error)
        return _last_words(channel, f"{type(error).__name__}: {error}")
    return 0


def _crew(
    arguments: argparse.Namespace, config: EngineConfig, place: Place, command: RankCommand, channel: CoreChannel
) -> "Crew | nullcontext[None]":
    if place.size == 1:
        return nullcontext()

    def end(sentence: str) -> None:
        """From the watch's thread: ours may be held, for good, in waiting for a dead rank."""
        _last_words(channel, sentence)
        os._exit(1)

    return Crew(
        place,
        Hello(0, place.size, place.where(os.getpid()), common_facts(arguments.model, config)),
        lambda rank, port: command(arguments.model, arguments.config, place, rank, port),
        config.step_timeout_s,
        end,
        lambda sentence: print(f"pagelet engine: {sentence}", file=sys.stderr, flush=True),
        *_address(place, arguments.ranks_port),
    )


def _address(place: Place, port: int) -> tuple[str, int]:
    """Where the other ranks find us; nobody outside a pod that has all of them does."""
    return (LOOPBACK, 0) if place.pods == 1 else (os.environ.get(names.LISTEN_ADDRESS_ENV, LOOPBACK), port)


def _serve(
    arguments: argparse.Namespace,
    config: EngineConfig,
    import_worker: Callable[[], WorkerKind],
    channel: CoreChannel,
    crew: Crew | None,
) -> None:
    clock = StartupClock(arguments.started_s, time.monotonic)
    try:
        started = start_engine(arguments.model, config, import_worker, clock)
        # What exists now lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        facts = {"model": started.model.name, "digest": started.model.digest, "num_blocks": started.model.num_blocks}
        print(f"pagelet engine: ready {json.dumps(facts | dict(clock.report()))}", file=sys.stderr, flush=True)
        reports = StepReports(started.engine, started.worker)
        ready = pipe.Ready(model=started.model, load=reports.load())
        channel.send(pipe.CoreFrame(ready=ready).SerializeToString())
        eos_token_ids = tuple(started.model.eos_token_ids)

        def new_request(message: pb.GenerateRequest, arrived_s: float) -> Request:
            return to_request(message, arrived_s, eos_token_ids, lambda: secrets.randbits(64))

        CoreLoop(started.engine, channel, reports, new_request, min(HEARTBEAT_S, config.step_timeout_s / 4)).run()
    except PipeClosed:
        return  # the good end, which the other ranks share
    except Exception as error:
        if crew is not None and (sentence := crew.explain(EXPLAIN_S)):
            raise CrewError(sentence) from error
        raise


def _last_words(channel: CoreChannel, sentence: str) -> int:
    with suppress(PipeClosed):
        channel.send(pipe.CoreFrame(fatal=pipe.Fatal(message=sentence)).SerializeToString())
    channel.close(GOODBYE_S)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="The core of an engine; the front starts it.")
    parser.add_argument("--model", type=Path, required=True, help="the model folder")
    parser.add_argument("--config", type=Path, required=True, help="the engine's configuration, JSON")
    parser.add_argument("--started-s", type=float, required=True, help="the engine's start, on the monotonic clock")
    parser.add_argument("--ranks-port", type=int, required=True, help="where ranks of other pods find this one")
    parser.add_argument("--pipe", type=int, required=True, help="descriptor of the socket to the front")
    return parser


if __name__ == "__main__":
    sys.exit(main())
