"""The core's process: an engine started, its pipe served until the front closes it, its last words said.

Started by the front alone (core_child.py), and never outlives it. The only process of an engine that imports torch.
"""

import argparse
import ctypes
import gc
import json
import secrets
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from pagelet_api import inference_pb2 as pb
from pagelet_api.config import ConfigError, EngineConfig

from pagelet_engine.core.request import Request
from pagelet_engine.server import pipe_pb2 as pipe
from pagelet_engine.server.conversion import to_request
from pagelet_engine.server.core_channel import CoreChannel, PipeClosed
from pagelet_engine.server.core_loop import HEARTBEAT_S, CoreLoop
from pagelet_engine.server.start import StartError, WorkerKind, start_engine
from pagelet_engine.server.startup_clock import StartupClock
from pagelet_engine.server.step_reports import StepReports

GOODBYE_S = 2.0
"""How long the front may take to read the last words."""

_PR_SET_PDEATHSIG = 1


def import_torch_worker() -> WorkerKind:
    """The real worker; takes the seconds that importing torch takes."""
    from pagelet_engine.worker.local import ModelError, load_worker

    return WorkerKind(load_worker, ModelError)


def main(argv: Sequence[str] | None = None, import_worker: Callable[[], WorkerKind] = import_torch_worker) -> int:
    """Serve the pipe until the front closes it; returns the exit code."""
    arguments = _parser().parse_args(argv)
    _end_with_the_front()
    channel = CoreChannel(socket.socket(fileno=arguments.pipe))
    try:
        channel.check_open()  # a front that died before it could take us along
        _serve(arguments, import_worker, channel)
    except PipeClosed:
        return 0  # the front has what it wanted, or has gone
    except (StartError, ConfigError) as error:
        return _last_words(channel, str(error))
    except Exception as error:  # a bug, or a device that failed: the whole story for us, a line for the front
        traceback.print_exc()
        return _last_words(channel, f"{type(error).__name__}: {error}")
    return 0


def _serve(arguments: argparse.Namespace, import_worker: Callable[[], WorkerKind], channel: CoreChannel) -> None:
    clock = StartupClock(arguments.started_s, time.monotonic)
    config = EngineConfig.read(arguments.config)
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


def _last_words(channel: CoreChannel, sentence: str) -> int:
    with suppress(PipeClosed):
        channel.send(pipe.CoreFrame(fatal=pipe.Fatal(message=sentence)).SerializeToString())
    channel.close(GOODBYE_S)
    return 1


def _end_with_the_front() -> None:
    """Die when the front dies, however it does; leave signals from a terminal or a runtime to it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        # A core that is loading, or in a long step, does not notice that its pipe has closed.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="The core of an engine; the front starts it.")
    parser.add_argument("--model", type=Path, required=True, help="the model folder")
    parser.add_argument("--config", type=Path, required=True, help="the engine's configuration, JSON")
    parser.add_argument("--started-s", type=float, required=True, help="the engine's start, on the monotonic clock")
    parser.add_argument("--pipe", type=int, required=True, help="descriptor of the socket to the front")
    return parser


if __name__ == "__main__":
    sys.exit(main())
