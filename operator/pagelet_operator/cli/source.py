"""What a command needs from the user's file: the service, and the checkpoint's `config.json`.

Turns every complaint of the readers into the command's one error.
"""

from pathlib import Path

from pagelet_api import model_folder
from pagelet_api.config import Device
from pagelet_api.memory_plan import DoesNotFitError, MemoryPlan
from pagelet_api.sizes import ModelConfigError, ModelShape
from pagelet_api.v1alpha1 import InferenceService

from pagelet_operator.cli import CommandError
from pagelet_operator.desired.engine_revision import resolve_device
from pagelet_operator.manifest import ManifestFileError, read_manifest
from pagelet_operator.replica_memory import cpu_plan


def read_service(file: Path, name: str) -> InferenceService:
    try:
        return read_manifest(file, name)
    except ManifestFileError as error:
        raise CommandError(str(error)) from error


def model_path(service: InferenceService) -> Path:
    """The model folder of this machine that the service names; that it is one is not checked."""
    path = service.spec.model.source.path
    if path is None:
        [source] = service.spec.model.source.model_dump(by_alias=True, exclude_none=True)
        raise CommandError(
            f"spec.model.source: wanted path, a model folder on this machine, found {source}, which is fetched in a "
            "cluster only; make a folder with `pagelet import`, and name it"
        )
    return Path(path)


def read_shape(folder: Path) -> ModelShape:
    """The shape of the model in `folder`, from its config alone."""
    try:
        return ModelShape.from_config(model_folder.read_object(folder / "config.json"))
    except model_folder.ModelFolderError as error:
        raise CommandError(f"cannot read the model's configuration: {error}") from error
    except ModelConfigError as error:
        raise CommandError(f"{folder}: {error}") from error


def check_model_folder(service: InferenceService) -> Path:
    """The service's model folder, if it looks like the verified one. Hashing its files is the engine's job."""
    folder = model_path(service)
    if not folder.exists():
        raise CommandError(
            f"spec.model.source.path: there is no model folder {folder}; make one with `pagelet import SOURCE {folder}`"
        )
    try:
        digest = model_folder.read_digest(folder)
    except model_folder.ModelFolderError as error:
        raise CommandError(f"spec.model.source.path: {error}") from error
    wanted = service.spec.model.digest
    if wanted and wanted != digest:
        raise CommandError(f"spec.model.digest: wanted {wanted}, but {folder} has {digest}; correct one of them")
    return folder


def plan_on_cpu(service: InferenceService, shape: ModelShape) -> MemoryPlan:
    """The plan of one replica on the cpu device."""
    try:
        return cpu_plan(service.spec.engine, shape)
    except (DoesNotFitError, ModelConfigError) as error:
        raise CommandError(f"spec.engine: {error}") from error


def runs_on_cpu(service: InferenceService) -> bool:
    return resolve_device(service.spec) is Device.CPU
