"""What every route of one gateway shares, complete when constructed."""

import logging
import time
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TypeVar

from pagelet_api.config import GatewayConfig
from pagelet_api.openai.errors import OpenAIError, model_not_found
from pagelet_api.openai.fates import Refusal
from pagelet_api.openai.parsing import parse_body, parse_json
from pydantic import BaseModel
from starlette.requests import Request

from pagelet_gateway.body import read_body
from pagelet_gateway.engines import Engines
from pagelet_gateway.generation import MAX_BACKLOG_UPDATES, Generation, no_engine
from pagelet_gateway.metrics import Metrics
from pagelet_gateway.model import ServedModel
from pagelet_gateway.prompts import Prompter

Body = TypeVar("Body", bound=BaseModel)
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Gateway:
    config: GatewayConfig
    engines: Engines
    metrics: Metrics
    executor: Executor
    max_backlog: int = MAX_BACKLOG_UPDATES
    log_requests: bool = False
    stopping: bool = False
    """SIGTERM has come: not ready any more, what comes all the same is answered, and every answer closes its
    connection."""
    in_flight: set[Generation] = field(default_factory=set)
    started_unix_s: int = field(default_factory=lambda: int(time.time()))
    prompter: Prompter = field(init=False)

    def __post_init__(self) -> None:
        self.prompter = Prompter(self.executor)
        self.metrics.watch_engines(self._engine_states)

    @property
    def names(self) -> tuple[str, ...]:
        """The model's names, the first its own."""
        return (self.config.model_name, *self.config.aliases)

    async def model(self, name: str | None) -> ServedModel:
        """The model of that name, as an engine holds it now, or soon. Raises OpenAIError 404 or 503."""
        if name is not None and name not in self.names:
            raise model_not_found(name)
        await self.engines.wait()
        model = self.engines.model
        if model is None:
            raise no_engine()
        return model

    async def read(self, request: Request, body_type: type[Body], refused: Mapping[str, Refusal]) -> Body:
        """The request's body, validated; what is ignored or refused in it is counted. Raises OpenAIError."""
        return self.parse(parse_json(await read_body(request)), body_type, refused)

    def parse(self, data: Mapping[str, object], body_type: type[Body], refused: Mapping[str, Refusal]) -> Body:
        try:
            parsed = parse_body(body_type, data, refused)
        except OpenAIError as error:
            self.metrics.refused_fields.labels(error.code or "").inc()
            raise
        for name in parsed.ignored:
            self.metrics.ignored_fields.labels(name).inc()
        return parsed.body

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
