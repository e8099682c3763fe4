"""The two HTTP applications of a gateway: OpenAI's API, and the ops port. Routes and the error shape, nothing else."""

from importlib.metadata import version

from pagelet_api.openai.errors import OpenAIError, server_error
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from pagelet_gateway.chat import ChatRoute
from pagelet_gateway.completions import CompletionRoute
from pagelet_gateway.gateway import Gateway
from pagelet_gateway.models_route import ModelRoutes
from pagelet_gateway.observer import Observer
from pagelet_gateway.ops import OpsRoutes
from pagelet_gateway.readiness import Readiness
from pagelet_gateway.tokenization import TokenizationRoutes


def main_app(gateway: Gateway, readiness: Readiness) -> ASGIApp:
    """Everything a client uses."""
    models, tokenization = ModelRoutes(gateway), TokenizationRoutes(gateway)
    ops = OpsRoutes(readiness, gateway.metrics)
    return Starlette(
        routes=[
            Route("/v1/chat/completions", ChatRoute(gateway).answer, methods=["POST"]),
            Route("/v1/completions", CompletionRoute(gateway).answer, methods=["POST"]),
            Route("/v1/models", models.list),
            Route("/v1/models/{name:path}", models.one),
            Route("/tokenize", tokenization.tokenize, methods=["POST"]),
            Route("/detokenize", tokenization.detokenize, methods=["POST"]),
            Route("/version", _version),
            *ops.routes(),
        ],
        middleware=[
            Middleware(
                Observer,
                metrics=gateway.metrics,
                log_requests=gateway.log_requests,
                leaving=lambda: gateway.stopping,
            )
        ],
        exception_handlers={
            OpenAIError: _openai_error,
            HTTPException: _http_error,
            ClientDisconnect: _gone,
            Exception: _fault,
        },
    )


def ops_app(gateway: Gateway, readiness: Readiness) -> ASGIApp:
    """Probes and metrics."""
    return Starlette(routes=OpsRoutes(readiness, gateway.metrics).routes())


async def _version(request: Request) -> Response:
    return JSONResponse({"version": version("pagelet")})


async def _openai_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, OpenAIError)
    return JSONResponse(error.body(), error.status, dict(error.headers()))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path[:200]}"
    if error.status_code == 404:
        shown = OpenAIError(404, f"There is no {what} here; the API begins with /v1.", code="unknown_url")
    elif error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "other methods")
        shown = OpenAIError(405, f"{what}: this path takes {allowed}.", code="method_not_allowed")
    else:
        shown = OpenAIError(error.status_code, str(error.detail), code=None)
    return JSONResponse(shown.body(), shown.status, error.headers)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it; the metric does


async def _fault(request: Request, error: Exception) -> Response:
    """A bug of ours; starlette re-raises it after this answer, so that it is logged with its traceback."""
    return JSONResponse(server_error("The gateway failed at this request; the fault is logged.").body(), 500)
