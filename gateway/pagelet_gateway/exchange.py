"""One answer on its way to one client: from engine updates to HTTP, streamed or whole.

Owns the answer's beginning, its end in every case (complete, failed, client gone, client too slow), and its measures.
What the bytes look like is the form's; one write goes out for each step of the engine, whatever it brought.
"""

import asyncio
import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from pagelet_api import inference_pb2 as pb
from pagelet_api.openai.errors import OpenAIError
from pagelet_api.openai.responses import Usage
from starlette.types import Receive, Scope, Send

from pagelet_gateway.answer import Answer
from pagelet_gateway.gateway import Gateway, client_of, disconnected
from pagelet_gateway.generation import Generation
from pagelet_gateway.inbox import Express
from pagelet_gateway.outlet import Outlet
from pagelet_gateway.sample import Delta
from pagelet_gateway.whole_answer import PIECE_BYTES, Collected, WholeAnswer, send_whole

_log = logging.getLogger(__name__)

_STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # proxies in between must not collect
]
DONE = "data: [DONE]\n\n"


class Form(Protocol):
    """How an answer looks: chat's or the legacy completions'."""

    def opening(self, choice: int) -> str:
        """The events before a choice's first text."""
        ...

    def text_event(self, choice: int, text: str) -> str:
        """The event of text alone, which may not be empty."""
        ...

    def event(self, choice: int, delta: Delta) -> str: ...

    def usage_event(self, usage: Usage) -> str: ...

    def whole(self, choices: Sequence[Collected], answer: Answer) -> Iterator[bytes]:
        """The body of an answer that is not streamed, in pieces of little work each; some are empty."""
        ...


class _ClientGone(OpenAIError):
    def __init__(self) -> None:
        super().__init__(499, "The client has gone.")


class Exchange:
    """An ASGI response. Errors before the first token are raised as OpenAIError, for a status of their own."""

    def __init__(
        self,
        gateway: Gateway,
        digest: str,
        requests: Sequence[pb.GenerateRequest],
        answer: Answer,
        form: Form,
        *,
        stream: bool,
        include_usage: bool,
    ) -> None:
        """`digest`: the model whose tokens these are."""
        self._gateway = gateway
        self._answer = answer
        self._form = form
        self._is_stream = stream
        self._include_usage = include_usage
        self._generation = Generation(
            lambda tried: gateway.engines.pick(digest, tried),
            requests,
            timeout_s=gateway.config.request_timeout_s,
            wait=gateway.engines.wait,
            max_backlog=gateway.max_backlog,
            overflowed=self._cut,
        )
        self._task: asyncio.Task[Any] | None = None
        self._is_cut = False
        self._last_s = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._task = asyncio.current_task()
        metrics = self._gateway.metrics
        began_s = asyncio.get_running_loop().time()
        watcher = asyncio.create_task(self._watch(receive))
        self._gateway.in_flight.add(self._generation)
        metrics.running.inc()
        try:
            await self._generation.start()
            deltas = await self._step()
            metrics.ttft_s.observe(self._last_s - began_s)
            if self._is_stream:
                await self._stream(deltas, send)
            else:
                await self._send_whole(deltas, send, client_of(scope))
            if self._answer.finished:
                metrics.e2e_s.observe(self._last_s - began_s)
                metrics.prompt_tokens.inc(self._answer.usage()["prompt_tokens"])
        except _ClientGone:
            pass
        except asyncio.CancelledError:
            if not self._is_cut:
                raise
            # Returning with the answer incomplete closes the connection.
            assert self._task is not None
            self._task.uncancel()
        finally:
            self._generation.close()
            self._gateway.in_flight.discard(self._generation)
            metrics.running.dec()
            watcher.cancel()

    async def _stream(self, deltas: list[tuple[int, Delta]], send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _STREAM_HEADERS})
        outlet = Outlet(send)
        try:
            await self._write_all(deltas, outlet)
        finally:
            outlet.close()

    async def _write_all(self, deltas: list[tuple[int, Delta]], outlet: Outlet) -> None:
        form, answer = self._form, self._answer
        opened: set[int] = set()

        def express(key: int, index: int, token: int, came_s: float) -> bool:
            return outlet.is_free and self._write_token(outlet, answer.choice(key, index), token, came_s)

        while True:
            parts: list[str] = []
            for choice, delta in deltas:
                if choice not in opened:
                    opened.add(choice)
                    opening = form.opening(choice)
                    if len(opening) > PIECE_BYTES:  # a long prompt that is echoed; there may be many choices
                        await outlet.write("".join((*parts, opening)).encode("ascii"))
                        parts.clear()
                    else:
                        parts.append(opening)
                if delta.text or delta.finish_reason or delta.logprobs:
                    parts.append(form.event(choice, delta))
            if answer.finished:
                break
            if parts:
                await outlet.write("".join(parts).encode("ascii"))
            try:
                deltas = await self._step(express)
            except _ClientGone:
                raise
            except OpenAIError as error:
                self._gateway.metrics.finished("error")
                _log.warning("a stream ended with an error: %s", error.message)
                parts = [f"data: {json.dumps(error.body())}\n\n"]
                break
        if self._include_usage and answer.finished:
            parts.append(form.usage_event(answer.usage()))
        parts.append(DONE)
        await outlet.write("".join(parts).encode("ascii"), more=False)

    def _write_token(self, outlet: Outlet, choice: int, token: int, came_s: float) -> bool:
        """Nearly every token's way, where it arrives and without a task: what `_step` and `event` would make of it.
        False: it takes these."""
        text = self._answer.draw(choice, token)
        if text is None:
            return False
        if text:
            outlet.write_now(self._form.text_event(choice, text).encode("ascii"))
        metrics = self._gateway.metrics
        metrics.generation_tokens += 1
        if came_s != self._last_s:  # else another choice came in the same step
            metrics.inter_token_s.observe(came_s - self._last_s)
            self._last_s = came_s
        return True

    async def _send_whole(self, deltas: list[tuple[int, Delta]], send: Send, client: str) -> None:
        answer = self._answer
        with self._gateway.answers.hold(client) as hold:
            whole = WholeAnswer(len(answer.samples), hold)
            whole.add(deltas, answer.prompt_logprobs)
            while not answer.finished:
                whole.add(await self._step(), answer.prompt_logprobs)
            await send_whole(self._form.whole(whole.choices, answer), send)

    async def _step(self, express: Express | None = None) -> list[tuple[int, Delta]]:
        """What the engines have sent since the last step, less what went by express. Raises OpenAIError."""
        answer, generation, metrics = self._answer, self._generation, self._gateway.metrics
        deltas: list[tuple[int, Delta]] = []
        updates = await generation.take(express)
        before = answer.completion_tokens
        for key, update in updates:
            new, needless = answer.feed(key, update)
            deltas += new
            if needless and answer.is_complete(key):
                generation.abort(key)
            else:
                for sample in needless:
                    generation.abort_sample(key, sample)
        now_s = asyncio.get_running_loop().time()
        if self._last_s:
            metrics.inter_token_s.observe(now_s - self._last_s)
        self._last_s = now_s
        metrics.generation_tokens += answer.completion_tokens - before
        for _, delta in deltas:
            if delta.finish_reason is not None:
                metrics.finished(delta.finish_reason)
        return deltas

    async def _watch(self, receive: Receive) -> None:
        """Ends the answer when the client goes, streamed or not."""
        await disconnected(receive)
        self._generation.end(_ClientGone())

    def _cut(self) -> None:
        """The client reads so slowly that its task is stuck in a write: end that."""
        self._is_cut = True
        self._gateway.metrics.cut_clients.inc()
        _log.warning("a client reads too slowly and is cut; its request is aborted")
        if self._task is not None:
            self._task.cancel()
