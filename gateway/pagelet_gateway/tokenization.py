"""POST /tokenize and /detokenize, in vLLM's shapes: a worker writes the whole answer."""

from starlette.requests import Request
from starlette.responses import Response

from pagelet_gateway.gateway import Gateway
from pagelet_gateway.workers.job import Kind


class TokenizationRoutes:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def tokenize(self, request: Request) -> Response:
        """Raises OpenAIError."""
        prepared, _ = await self._gateway.prepare(request, Kind.TOKENIZE)
        return Response(prepared.content, media_type="application/json")

    async def detokenize(self, request: Request) -> Response:
        """Raises OpenAIError."""
        prepared, _ = await self._gateway.prepare(request, Kind.DETOKENIZE)
        return Response(prepared.content, media_type="application/json")
