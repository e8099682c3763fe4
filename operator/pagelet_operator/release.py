"""Which images this release runs, where the user's file does not say."""

from dataclasses import dataclass, field
from importlib.metadata import version

from pagelet_api.model_report import ModelFacts

from pagelet_operator.desired.facts import Facts


def engine_image() -> str:
    return f"pagelet-engine:{version('pagelet')}"


def gateway_image() -> str:
    return f"pagelet-gateway:{version('pagelet')}"


def model_image() -> str:
    """The operator's own: all that fetching a model needs, and no torch."""
    return f"pagelet-operator:{version('pagelet')}"


@dataclass(frozen=True, slots=True)
class Release:
    """The images of one installation; a chart names them by digest."""

    engine_image: str = field(default_factory=engine_image)
    gateway_image: str = field(default_factory=gateway_image)
    model_image: str = field(default_factory=model_image)

    def facts(self, model: ModelFacts | None = None) -> Facts:
        """What rendering needs, in a cluster."""
        return Facts(self.engine_image, self.gateway_image, model_image=self.model_image, model=model)
