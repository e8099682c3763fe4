"""The core's loop: commands in, one step, one frame out. Blocks only while there is nothing to do.

Owns no tensors, no processes and no clock: engine and pipe are given.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from pagelet_api import inference_pb2 as pb

from pagelet_engine.core.news import News
from pagelet_engine.core.request import Request, RequestRejected
from pagelet_engine.server import pipe_pb2 as pipe
from pagelet_engine.server.conversion import add_news
from pagelet_engine.server.refusal import CODES, refusal
from pagelet_engine.server.validation import prompt_length

HEARTBEAT_S = 4.0
"""An idle core says this often that it lives; the front allows many of them before it worries."""

MAX_PROMPT_TOKENS_PER_TURN = 131_072
"""Of new requests, before the next step: some 15 ms. Hundreds of long ones that come at once would make every running
one wait for all of them."""


class Channel(Protocol):
    def receive(self, wait_s: float) -> list[bytes]:
        """The frames that have arrived, waiting up to `wait_s` for the first."""
        ...

    def send(self, payload: bytes) -> None:
        """Hand a frame over without waiting for its reader."""
        ...


class Engine(Protocol):
    """What the loop needs of `core.engine.EngineCore`."""

    @property
    def has_work(self) -> bool: ...

    def add(self, request: Request) -> None:
        """Queue a request; raises RequestRejected."""
        ...

    def abort(self, request_id: str, samples: tuple[int, ...] = ()) -> None: ...

    def step(self) -> News: ...


class Reports(Protocol):
    """What a frame says besides the updates."""

    def fill(self, step: pipe.StepFrame) -> None:
        """Add load, tokens, waits and KV events."""
        ...

    def listen_kv(self, on: bool) -> None:
        """Report KV events from the next frame on, the whole cache first; or stop."""
        ...


class CoreLoop:
    """`new_request` makes a request of a message and its time of arrival."""

    def __init__(
        self,
        engine: Engine,
        channel: Channel,
        reports: Reports,
        new_request: Callable[[pb.GenerateRequest, float], Request],
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self._engine = engine
        self._channel = channel
        self._reports = reports
        self._new_request = new_request
        self._heartbeat_s = heartbeat_s
        self._commands: deque[pipe.Command] = deque()
        """Received and not yet applied, in order of arrival."""

    def run(self) -> None:
        """Serve until the channel raises PipeClosed."""
        while True:
            self.turn()

    def turn(self) -> None:
        """Take what has arrived, make one step, report it. Waits only when there is no work."""
        report = pipe.CoreFrame()
        if not self._commands:  # else what is sent waits in the pipe, where the front sees that it does
            wait_s = 0.0 if self._engine.has_work else self._heartbeat_s
            for payload in self._channel.receive(wait_s):
                self._commands.extend(pipe.CommandFrame.FromString(payload).commands)
        self._apply_some(report.step)
        if self._engine.has_work:
            add_news(self._engine.step(), report.step)
        self._reports.fill(report.step)
        self._channel.send(report.SerializeToString())

    def _apply_some(self, report: pipe.StepFrame) -> None:
        left = MAX_PROMPT_TOKENS_PER_TURN
        while self._commands and left > 0:
            command = self._commands.popleft()
            match command.WhichOneof("command"):
                case "submit":
                    self._submit(command.submit, report)
                    left -= prompt_length(command.submit.request)
                case "abort":
                    self._engine.abort(command.abort.request_id, tuple(command.abort.samples))
                case "listen_kv":
                    self._reports.listen_kv(command.listen_kv.on)

    def _submit(self, submit: pipe.Submit, report: pipe.StepFrame) -> None:
        try:
            self._engine.add(self._new_request(submit.request, submit.arrived_s))
        except RequestRejected as rejected:
            code = CODES[rejected.reason]
            report.updates.append(refusal(submit.request.request_id, code, str(rejected), rejected.retry_after_s))
