"""A rank other than 0: it finds rank 0, loads its share, and computes the steps that it is told.

Ends with rank 0, however that ends: a thread beside the work says every half second that this rank lives, and watches
the line. Refuses to know what a step is, and to import torch before it is on the line.
"""

import argparse
import math
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pagelet_api.config import ConfigError, EngineConfig

from pagelet_engine.child_process import end_with_parent
from pagelet_engine.worker.ranks.crew import PATIENCE_S, TELL_S, Say
from pagelet_engine.worker.ranks.facts import common_facts
from pagelet_engine.worker.ranks.line import Line, LineClosed
from pagelet_engine.worker.ranks.messages import (
    NO_MORE_STEPS,
    Beat,
    Failure,
    Hello,
    Nonsense,
    Refusal,
    Welcome,
    decode_answer,
    decode_step,
    encode_json,
    encode_news,
)
from pagelet_engine.worker.ranks.place import Meeting, PlaceError, find_place
from pagelet_engine.worker.ranks.watch import BEAT_S

RETRY_S = 0.2
LAST_WORDS_S = 0.5
"""Where a failure is but the echo of another rank's death, rank 0 hangs up within that time."""


class FollowerError(Exception):
    """Rank 0 is not there, or refuses this rank; one sentence for a person."""


@dataclass(frozen=True, slots=True)
class LoadedRank:
    run: Callable[[bytes], None]
    """Compute this rank's share of the step with this header."""
    leave: Callable[[], None]
    """Part from the other ranks in good order."""


@dataclass(frozen=True, slots=True)
class RankKind:
    """How a rank is loaded, its code imported."""

    load: Callable[[Path, EngineConfig, Meeting], LoadedRank]
    refusal: type[Exception]
    """What `load` raises, with a sentence, for a model that it cannot serve."""


def main(argv: Sequence[str] | None, import_rank: Callable[[], RankKind]) -> int:
    """Compute until rank 0 says that it is enough; returns the exit code."""
    arguments = _parser().parse_args(argv)
    end_with_parent()
    name = f"rank {arguments.rank}"

    def say(sentence: str) -> None:
        print(f"pagelet engine: {name}: {sentence}\n", end="", file=sys.stderr, flush=True)  # in one piece

    try:
        config = EngineConfig.read(arguments.config)
        place = find_place(os.environ, config.tensor_parallel_size)
        hello = Hello(arguments.rank, place.size, place.where(os.getpid()), common_facts(arguments.model, config))
        host, port = arguments.leader
        tell_s = TELL_S if place.pod else math.inf  # in rank 0's pod, its own log says what it does
        line, welcome = join_line(host, port, hello, say, tell_s=tell_s)
    except (FollowerError, ConfigError, PlaceError) as error:
        say(str(error))
        return 1
    meeting = Meeting(place, arguments.rank, welcome.store_port)
    say_last = say if place.pod else lambda sentence: None  # in rank 0's pod, rank 0 says why
    return Follower(line, say_last).run(lambda: _load(import_rank(), arguments.model, config, meeting))


def _load(kind: RankKind, model_dir: Path, config: EngineConfig, meeting: Meeting) -> LoadedRank:
    try:
        return kind.load(model_dir, config, meeting)
    except kind.refusal as error:
        raise FollowerError(str(error)) from error


class Follower:
    """On the line with rank 0, and alive as long as it is."""

    def __init__(self, line: Line, say_last: Say) -> None:
        self._line, self._say_last = line, say_last
        self._beat = Beat(0, 0)
        self._is_ending = False
        threading.Thread(target=self._live, name="beats", daemon=True).start()

    def run(self, load: Callable[[], LoadedRank]) -> int:
        """Load, then compute until there are no more steps; returns the exit code."""
        try:
            rank = load()
            while (frame := self._line.receive()) != NO_MORE_STEPS:
                number, header = decode_step(frame)
                self._beat = Beat(number, self._beat.ended)
                rank.run(header)
                self._beat = Beat(number, number)
            self._is_ending = True
            rank.leave()
        except LineClosed:
            self._give_up()
        except Exception as error:
            return self._fail(error)
        self._line.close()
        return 0

    def _fail(self, error: Exception) -> int:
        told = isinstance(error, FollowerError)
        sentence = str(error) if told else f"{type(error).__name__}: {error}"
        with suppress(LineClosed):
            self._line.send(encode_news(self._beat))
            self._line.send(encode_news(Failure(" ".join(sentence.split()))))
        if not self._line.closes_within(LAST_WORDS_S) and not told:
            traceback.print_exception(error)  # a bug, or a device that failed: the whole story for us
        self._is_ending = True
        return 1

    def _live(self) -> None:
        while not self._line.closes_within(BEAT_S):
            with suppress(LineClosed):
                self._line.send(encode_news(self._beat))
        if not self._is_ending:
            self._give_up()

    def _give_up(self) -> NoReturn:
        """At once, wherever the main thread is: it may be held in a collective operation."""
        self._say_last("rank 0 is gone")
        os._exit(1)


def join_line(
    host: str, port: int, hello: Hello, say: Say, patience_s: float = PATIENCE_S, tell_s: float = TELL_S
) -> tuple[Line, Welcome]:
    """Wait until rank 0 is there and takes this rank. Raises FollowerError."""
    began_s = time.monotonic()
    told_s = began_s
    line: Line | None = None
    reason = ""
    while True:
        if line is None:
            line, reason = _connect(host, port, hello)
        try:
            if line is not None and (answer := line.receive_within(RETRY_S)) is not None:
                match decode_answer(answer):
                    case Welcome() as welcome:
                        return line, welcome
                    case Refusal(sentence):
                        raise FollowerError(f"rank 0 at {host}:{port} refuses this rank: {sentence}")
        except (LineClosed, Nonsense) as error:
            line, reason = None, str(error)  # perhaps the last one of a group that is being replaced
        if line is None:
            time.sleep(RETRY_S)
        now_s = time.monotonic()
        if now_s - began_s > patience_s:
            raise FollowerError(
                f"waited {patience_s:g} s for rank 0 at {host}:{port}: {reason or 'it does not answer'}"
            )
        if now_s - told_s > tell_s:
            because = f" ({reason})" if reason else ""
            say(f"waiting for rank 0 at {host}:{port} since {now_s - began_s:.0f} s{because}")
            told_s = now_s


def _connect(host: str, port: int, hello: Hello) -> tuple[Line | None, str]:
    """(the line with our hello said, or None; why not)"""
    try:
        line = Line(socket.create_connection((host, port), timeout=RETRY_S * 10))
        line.send(encode_json(hello))
    except (OSError, LineClosed) as error:
        return None, getattr(error, "strerror", None) or str(error)
    return line, ""


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise argparse.ArgumentTypeError(f"wanted HOST:PORT, found {text!r}")
    return host, int(port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="A rank of an engine; the engine starts it.")
    parser.add_argument("--model", type=Path, required=True, help="the model folder")
    parser.add_argument("--config", type=Path, required=True, help="the engine's configuration, JSON")
    parser.add_argument("--rank", type=int, required=True, help="1 to size - 1")
    parser.add_argument("--leader", type=_address, required=True, help="HOST:PORT of rank 0")
    return parser
