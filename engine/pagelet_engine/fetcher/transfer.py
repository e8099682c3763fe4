"""From a source to facts: look, decide, fetch, make it a model folder, put it in its place."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

from pagelet_api.model_folder import MANIFEST, ModelFolderError
from pagelet_api.model_report import FailureReason, ModelFacts

from pagelet_engine.fetcher.contents import Contents, contents, small_files
from pagelet_engine.fetcher.download import download, read_text
from pagelet_engine.fetcher.facts import facts_of
from pagelet_engine.fetcher.failure import FetchFailed
from pagelet_engine.fetcher.patience import persist
from pagelet_engine.fetcher.place import Place, check_room, total_size
from pagelet_engine.fetcher.progress import progress_lines
from pagelet_engine.fetcher.source import Source
from pagelet_engine.importer.in_place import adopt_hf_folder
from pagelet_engine.importer.refusal import ImportRefused

_FETCHED, _MODEL = "fetched", "model"


async def look(source: Source, digest: str, patience_s: float) -> tuple[Contents, ModelFacts]:
    """What the source holds; no weights are fetched. Raises FetchFailed, also when it is known not to be `digest`."""
    listing = await persist(source.listing, patience_s)
    texts = {file.path: await read_text(source, file, patience_s) for file in small_files(listing)}
    found = contents(source.name, listing, texts)
    if found.digest:
        check_digest(source.name, digest, found.digest)
    facts = ModelFacts(
        digest=found.digest, folder="", revision=listing.revision, num_bytes=found.num_bytes, shape=found.shape
    )
    return found, facts


async def fetch(source: Source, place: Place, digest: str, patience_s: float) -> ModelFacts:
    """Have the model in `place`. Raises FetchFailed, and OSError for the place's troubles."""
    if there := await asyncio.to_thread(place.existing, digest):
        print(f"{there} is there already", flush=True)
        return facts_of(there, _relative(there, place))
    found, facts = await look(source, digest, patience_s)
    if found.digest and (there := await asyncio.to_thread(place.existing, found.digest)):
        print(f"{there} is there already", flush=True)
        return facts_of(there, _relative(there, place), facts.revision)
    with place.workspace() as work:
        check_room(place.root, found.num_bytes - total_size(work))
        fetched = work / _FETCHED
        fetched.mkdir(exist_ok=True)
        async with progress_lines(f"fetching {source.name}", found.num_bytes) as advance:
            await download(source, found.files, fetched, advance, patience_s)
        _remove_others(fetched, found)
        if found.manifest:
            (fetched / MANIFEST).write_bytes(found.manifest)
            there = await asyncio.to_thread(place.install, fetched, found.digest)
        else:
            there = await _import(fetched, Path.rename, place, work, digest, source.name)
        return facts_of(there, _relative(there, place), facts.revision)


async def import_copy(source: Path, place: Place, digest: str) -> ModelFacts:
    """Have the Hugging Face folder `source`, which is left as it is, as a model folder in `place`."""
    if there := await asyncio.to_thread(place.existing, digest):
        return facts_of(there, _relative(there, place))
    with place.workspace() as work:
        check_room(place.root, _bytes_of_files(source))
        there = await _import(source, shutil.copyfile, place, work, digest, str(source))
        return facts_of(there, _relative(there, place))


async def _import(
    folder: Path, put: Callable[[Path, Path], object], place: Place, work: Path, digest: str, name: str
) -> Path:
    """Make a model folder of a Hugging Face folder, in `place`."""
    model = work / _MODEL
    shutil.rmtree(model, ignore_errors=True)
    model.mkdir()
    size = _bytes_of_files(folder)
    try:
        async with progress_lines(f"hashing {name}", size) as advance:
            found = await asyncio.to_thread(adopt_hf_folder, folder, model, put, advance)
    except (ImportRefused, ModelFolderError) as error:
        # The folder's name means nothing to whoever reads this.
        sentence = str(error).replace(str(folder), name)
        raise FetchFailed(FailureReason.MODEL_NOT_SUPPORTED, sentence) from error
    check_digest(name, digest, found)
    return await asyncio.to_thread(place.install, model, found)


def check_digest(source: str, wanted: str, found: str) -> None:
    if wanted and wanted != found:
        raise FetchFailed(
            FailureReason.DIGEST_MISMATCH,
            f"{source} is another model: wanted digest {wanted}, found {found}; correct model.digest, or the source",
        )


def _remove_others(folder: Path, found: Contents) -> None:
    """Files that an earlier attempt fetched and that are no longer the model's."""
    wanted = {folder / file.path for file in found.files}
    for path in folder.rglob("*"):
        if path.is_file() and path not in wanted:
            path.unlink()


def _bytes_of_files(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())


def _relative(folder: Path, place: Place) -> str:
    relative = folder.relative_to(place.root).as_posix()
    return "" if relative == "." else relative
