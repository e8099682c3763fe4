"""GET /v1/models: the model under each of its names."""

from pagelet_api.openai.errors import model_not_found
from pagelet_api.openai.responses import Model, ModelList
from starlette.requests import Request
from starlette.responses import JSONResponse

from pagelet_gateway.gateway import Gateway


class ModelRoutes:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def list(self, request: Request) -> JSONResponse:
        body: ModelList = {"object": "list", "data": [self._model(name) for name in self._gateway.names]}
        return JSONResponse(body)

    async def one(self, request: Request) -> JSONResponse:
        """Raises OpenAIError 404."""
        name = request.path_params["name"]
        if name not in self._gateway.names:
            raise model_not_found(name)
        return JSONResponse(self._model(name))

    def _model(self, name: str) -> Model:
        """Known by the configuration, whether an engine is there or not; the rest only an engine knows."""
        model = self._gateway.engines.model
        return {
            "id": name,
            "object": "model",
            "created": model.info.created_unix_s if model else self._gateway.started_unix_s,
            "owned_by": "pagelet",
            "max_model_len": model.info.max_model_len if model else None,
        }
