"""What every route of one gateway shares, complete when constructed."""

import asyncio
import logging
import time
from dataclasses import dataclass, field

from pagelet_api.config import GatewayConfig
from pagelet_api.gateway_memory import ANSWERS_BYTES
from pagelet_api.openai.errors import OpenAIError
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope

from pagelet_gateway.body import BodyMemory, read_body
from pagelet_gateway.byte_budget import ByteBudget
from pagelet_gateway.engines import Engines
from pagelet_gateway.generation import MAX_BACKLOG_UPDATES, Generation, no_engine
from pagelet_gateway.metrics import Metrics
from pagelet_gateway.model import ServedModel
from pagelet_gateway.workers.job import Job, Kind, Prepared, Refused
from pagelet_gateway.workers.pool import WorkerPool

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Gateway:
    config: GatewayConfig
    engines: Engines
    metrics: Metrics
    workers: WorkerPool
    max_backlog: int = MAX_BACKLOG_UPDATES
    log_requests: bool = False
    stopping: bool = False
    """SIGTERM has come: not ready any more, what comes all the same is answered, and every answer closes its
    connection."""
    in_flight: set[Generation] = field(default_factory=set)
    started_unix_s: int = field(default_factory=lambda: int(time.time()))
    bodies: BodyMemory = field(default_factory=BodyMemory)
    answers: ByteBudget = field(default_factory=lambda: ByteBudget(ANSWERS_BYTES, ANSWERS_BYTES // 2))
    """What answers that are not streamed hold until they are complete; those of one client, half of it."""

    def __post_init__(self) -> None:
        self.metrics.watch_engines(self._engine_states)
        self.metrics.watch_workers(lambda: self.workers.waiting, lambda: self.workers.lost_workers)
        self.metrics.watch_memory(
            {"bodies": lambda: self.bodies.held_bytes, "answers": lambda: self.answers.held_bytes}
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The model's names, the first its own."""
        return (self.config.model_name, *self.config.aliases)

    async def prepare(self, request: Request, kind: Kind) -> tuple[Prepared, ServedModel]:
        """The request's body, validated, and its prompts; what is ignored or refused in it is counted.

        For the model as an engine holds it now, or soon. Raises OpenAIError.
        """
        client = client_of(request.scope)
        with self.bodies.hold(client) as hold:
            body = await read_body(request, hold)
            await self.engines.wait()
            model = self.engines.model
            number, max_model_len = (model.number, model.info.max_model_len) if model else (None, 0)
            outcome = await self._run(Job(kind, body, self.names, number, max_model_len), client, request)
        if isinstance(outcome, Refused):
            if outcome.by_field:
                self.metrics.refused_fields.labels(outcome.error.code or "").inc()
            raise outcome.error
        for name in outcome.ignored:
            self.metrics.ignored_fields.labels(name).inc()
        if model is None or not (outcome.prompts or outcome.content):
            raise no_engine()
        return outcome, model

    async def _run(self, job: Job, client: str, request: Request) -> Prepared | Refused:
        """Raises ClientDisconnect when the client does not wait for it."""
        running = asyncio.ensure_future(self.workers.run(job, client))
        gone = asyncio.ensure_future(disconnected(request.receive))
        try:
            await asyncio.wait((running, gone), return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                raise ClientDisconnect
            return running.result()
        finally:
            running.cancel()
            gone.cancel()

    def end_all(self, reason: OpenAIError) -> None:
        """End every answer in flight with an error."""
        if self.in_flight:
            _log.warning("%d answers were not complete in time and are ended", len(self.in_flight))
        for generation in tuple(self.in_flight):
            generation.end(reason)

    def _engine_states(self) -> list[str]:
        return [
            "ready" if link.usable else "draining" if link.connected else "connecting" for link in self.engines.links
        ]


def client_of(scope: Scope) -> str:
    """Whose turn it is: the address that a connection comes from."""
    client = scope.get("client")
    return client[0] if client else ""


async def disconnected(receive: Receive) -> None:
    """Wait until the client of a request, whose body has been read, has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
