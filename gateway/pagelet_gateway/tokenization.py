"""POST /tokenize and /detokenize, in vLLM's shapes: a worker writes the whole answer."""

from starlette.requests import Request

from pagelet_gateway.gateway import Gateway, client_of
from pagelet_gateway.whole_answer import MadeAnswer
from pagelet_gateway.workers.job import Kind


class TokenizationRoutes:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def tokenize(self, request: Request) -> MadeAnswer:
        """Raises OpenAIError."""
        return await self._made(request, Kind.TOKENIZE)

    async def detokenize(self, request: Request) -> MadeAnswer:
        """Raises OpenAIError."""
        return await self._made(request, Kind.DETOKENIZE)

    async def _made(self, request: Request, kind: Kind) -> MadeAnswer:
        prepared, _ = await self._gateway.prepare(request, kind)
        return MadeAnswer(prepared.content, self._gateway.answers, client_of(request.scope))
