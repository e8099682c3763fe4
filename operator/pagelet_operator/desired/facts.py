"""What rendering needs besides the user's file: the release's images, and what only the runtime can know."""

from dataclasses import dataclass

from pagelet_api import names
from pagelet_api.model_report import ModelFacts


@dataclass(frozen=True, slots=True)
class Facts:
    """The same facts and the same spec give the same bytes."""

    engine_image: str
    gateway_image: str
    http_port: int = names.GATEWAY_HTTP_PORT
    """Where clients reach the gateway: the port of its container and of its Service."""
    gateway_ops_port: int = names.GATEWAY_OPS_PORT
    model_image: str = ""
    """Runs the model Job and the fetching init container: no torch in it."""
    model: ModelFacts | None = None
    """What the model Job found; None: not known, and on this machine not needed."""
