"""The gateway's end of the fork server: starts it, gives it models, and asks it for workers.

Its calls wait for the fork server, for milliseconds or, to read a model, for up to a second: they are for a thread.
"""

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pagelet_api.gateway_memory import Lane

from pagelet_gateway.workers.job import MessageDecoder, encode

_EXIT_LIMIT_S = 5.0
_READ_BYTES = 2**16


class ForkServerLost(Exception):
    """The process has ended by itself, or does not answer."""


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """A worker that has been forked, and the socket to it."""

    pid: int
    socket: socket.socket


@dataclass(frozen=True, slots=True)
class _Loaded:
    files: Mapping[str, bytes]
    vocab_size: int


class ForkServer:
    """Several threads may use it. A fork server that was lost is started anew, with the models that it had."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._models: dict[int, _Loaded] = {}
        self._numbers = itertools.count(1)
        self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def load(self, files: Mapping[str, bytes], vocab_size: int) -> int:
        """Read a model and return its number, for workers that are forked from now on. Raises ForkServerLost."""
        with self._lock:
            number = next(self._numbers)
            model = self._models[number] = _Loaded(files, vocab_size)
            try:
                try:
                    self._load(number, model)
                except ForkServerLost:
                    self._restart()
            except ForkServerLost:
                del self._models[number]
                raise
            return number

    def forget(self, numbers: set[int]) -> None:
        with self._lock:
            self._models = {number: model for number, model in self._models.items() if number not in numbers}
            with contextlib.suppress(ForkServerLost):  # it is started anew when it is next needed
                self._ask({"command": "forget", "models": sorted(numbers)})

    def fork(self, lane: Lane) -> WorkerProcess:
        """A worker that has every model loaded so far. Raises ForkServerLost."""
        with self._lock:
            try:
                return self._fork(lane)
            except ForkServerLost:
                self._restart()
                return self._fork(lane)

    def close(self) -> None:
        """End it, and with it all workers."""
        with self._lock:
            self._end()

    # ---- under the lock ----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._decoder = MessageDecoder()
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pagelet_gateway.workers.fork_server", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # The tokenizers' own threads would not survive a fork.
                env=os.environ | {"TOKENIZERS_PARALLELISM": "false"},
            )

    def _restart(self) -> None:
        self._end()
        self._start()
        for number, model in self._models.items():
            self._load(number, model)

    def _end(self) -> None:
        self._control.close()
        try:
            self._process.wait(_EXIT_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _load(self, number: int, model: _Loaded) -> None:
        sizes = {name: len(data) for name, data in model.files.items()}
        command = {"command": "load", "model": number, "files": sizes, "vocab_size": model.vocab_size}
        if (error := self._ask(command, b"".join(model.files.values()))["error"]) is not None:
            raise ForkServerLost(f"it cannot read a model that the gateway could read: {error}")

    def _fork(self, lane: Lane) -> WorkerProcess:
        ours, theirs = socket.socketpair()
        with theirs:
            command = {"command": "fork", "niceness": lane.niceness, "memory_bytes": lane.memory_bytes}
            try:
                answer = self._ask(command, descriptor=theirs.fileno())
            except ForkServerLost:
                ours.close()
                raise
        return WorkerProcess(answer["pid"], ours)

    def _ask(self, command: Mapping[str, Any], blob: bytes = b"", descriptor: int | None = None) -> dict[str, Any]:
        try:
            message = encode(command, blob)
            if descriptor is None:
                self._control.sendall(message)
            else:
                sent = socket.send_fds(self._control, [message], [descriptor])
                self._control.sendall(message[sent:])
            while piece := self._control.recv(_READ_BYTES):
                for header, _ in self._decoder.feed(piece):
                    return header
        except OSError as error:
            raise ForkServerLost(f"the fork server is gone: {error.strerror}") from error
        raise ForkServerLost("the fork server has ended")
