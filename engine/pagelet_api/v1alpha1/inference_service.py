"""The resource as a whole: type, metadata, spec, status."""

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from pagelet_api.v1alpha1.part import Part
from pagelet_api.v1alpha1.spec import InferenceServiceSpec
from pagelet_api.v1alpha1.status import InferenceServiceStatus

API_VERSION: Final = "pagelet.io/v1alpha1"
KIND: Final = "InferenceService"


class ObjectMeta(Part):
    """The metadata we read; Kubernetes owns the rest, and adds to it."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, Field(min_length=1, max_length=253)]
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class InferenceService(Part):
    """One model, served: the file a user writes becomes an OpenAI-compatible endpoint."""

    api_version: Literal["pagelet.io/v1alpha1"]
    kind: Literal["InferenceService"]
    metadata: ObjectMeta
    spec: InferenceServiceSpec
    """What the user wants."""
    status: InferenceServiceStatus = InferenceServiceStatus()
    """What is."""

    @property
    def served_name(self) -> str:
        """The name that clients ask for."""
        return self.spec.model.name or self.metadata.name
