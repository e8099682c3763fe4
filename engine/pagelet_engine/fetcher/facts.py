"""What the report says of a model folder that is known to be good."""

from pathlib import Path

from pagelet_api.model_folder import ModelFolderError, read_digest, read_object, total_bytes
from pagelet_api.model_report import FailureReason, ModelFacts
from pagelet_api.sizes import ModelConfigError, ModelShape

from pagelet_engine.fetcher.failure import FetchFailed


def facts_of(model: Path, folder: str, revision: str = "") -> ModelFacts:
    """`folder` is where the model is in its volume. Raises FetchFailed for a model that we cannot serve."""
    try:
        shape = ModelShape.from_config(read_object(model / "config.json"))
        return ModelFacts(
            digest=read_digest(model), folder=folder, revision=revision, num_bytes=total_bytes(model), shape=shape
        )
    except ModelConfigError as error:
        raise FetchFailed(FailureReason.MODEL_NOT_SUPPORTED, f"{error}; choose another model") from error
    except ModelFolderError as error:
        raise FetchFailed(FailureReason.MODEL_INCOMPLETE, str(error)) from error
