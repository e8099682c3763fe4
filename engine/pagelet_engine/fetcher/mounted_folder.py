"""A model on a volume that is mounted here already: verified where it lies, or imported into the storage."""

import asyncio
from pathlib import Path

from pagelet_api.model_folder import MANIFEST, ModelFolderError, OtherBytesError, total_bytes, verify
from pagelet_api.model_report import FailureReason, ModelFacts

from pagelet_engine.fetcher.facts import facts_of
from pagelet_engine.fetcher.failure import FetchFailed
from pagelet_engine.fetcher.place import Place
from pagelet_engine.fetcher.progress import progress_lines
from pagelet_engine.fetcher.transfer import import_copy


async def check(folder: Path, place: Place | None, digest: str) -> ModelFacts:
    """Hash every byte of the model folder at `folder`; a Hugging Face folder is imported into `place`, if there is one.

    Links are never followed. Raises FetchFailed, and OSError for troubles of the place.
    """
    try:
        _check_root(folder)
        if (folder / MANIFEST).is_file():
            async with progress_lines(f"verifying {folder}", total_bytes(folder)) as advance:
                await asyncio.to_thread(verify, folder, digest, advance)
            return facts_of(folder, "")
        total_bytes(folder)  # refuses links
    except OtherBytesError as error:
        raise FetchFailed(FailureReason.DIGEST_MISMATCH, str(error)) from error
    except ModelFolderError as error:
        raise FetchFailed(FailureReason.MODEL_INCOMPLETE, str(error)) from error
    if not (folder / "config.json").is_file():
        raise FetchFailed(
            FailureReason.MODEL_INCOMPLETE,
            f"the folder that source.pvc names has neither {MANIFEST} nor config.json: not a model's folder; "
            "correct path, or put the model there",
        )
    if place is None:
        raise FetchFailed(
            FailureReason.MODEL_INCOMPLETE,
            f"the folder that source.pvc names is a Hugging Face folder without {MANIFEST}: turn it into a model "
            "folder with `pagelet import SOURCE FOLDER`",
        )
    return await import_copy(folder, place, digest)


def _check_root(folder: Path) -> None:
    try:
        empty = not any(folder.iterdir())
    except OSError as error:
        raise FetchFailed(
            FailureReason.SOURCE_NOT_FOUND,
            f"the folder that source.pvc names cannot be read: {error.strerror}; correct path, or its permissions "
            "(user 10001, group 10001)",
        ) from error
    if empty:
        raise FetchFailed(
            FailureReason.SOURCE_NOT_FOUND,
            "the folder that source.pvc names is empty (a path that does not exist is made, and is empty): correct "
            "path, or put the model there",
        )
