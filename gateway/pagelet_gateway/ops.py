"""Probes and metrics: served on a port of their own, and on the main one."""

from pagelet_api import names
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pagelet_gateway.metrics import Metrics
from pagelet_gateway.readiness import Readiness

_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


class OpsRoutes:
    def __init__(self, readiness: Readiness, metrics: Metrics) -> None:
        self._readiness = readiness
        self._metrics = metrics

    def routes(self) -> list[Route]:
        return [
            Route(names.LIVE_PATH, self.health),
            Route(names.READY_PATH, self.ready),
            Route(names.METRICS_PATH, self.metrics),
        ]

    async def health(self, request: Request) -> Response:
        """Alive: the loop answers. An engine that is missing is no reason to restart a gateway."""
        return JSONResponse({"status": "alive"})

    async def ready(self, request: Request) -> Response:
        obstacle = self._readiness.obstacle
        if obstacle is None:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready", "reason": obstacle}, status_code=503)

    async def metrics(self, request: Request) -> Response:
        return Response(self._metrics.exposition(), media_type=_EXPOSITION)
