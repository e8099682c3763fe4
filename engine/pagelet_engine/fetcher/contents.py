"""Which of a source's files make up the model: those of its manifest, or what a Hugging Face folder needs.

Decides from names and from small files' bytes; fetches nothing. Pickle files are never wanted: loading one runs
whatever code it holds.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pagelet_api.model_folder import (
    MANIFEST,
    REQUIRED_FILES,
    WEIGHTS_SUFFIX,
    ModelFolderError,
    digest_of,
    parse_manifest,
)
from pagelet_api.model_report import FailureReason
from pagelet_api.sizes import ModelConfigError, ModelShape

from pagelet_engine.fetcher.failure import FetchFailed
from pagelet_engine.fetcher.paths import check_paths
from pagelet_engine.fetcher.source import Listing, RemoteFile

CONFIG = "config.json"
INDEX = f"model{WEIGHTS_SUFFIX}.index.json"
SINGLE = f"model{WEIGHTS_SUFFIX}"
_HUGGING_FACE_TEXTS = (
    CONFIG,
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True, slots=True)
class Contents:
    """What is to be fetched, and what it will be."""

    files: tuple[RemoteFile, ...]
    shape: ModelShape
    manifest: bytes = b""
    """Of a model folder; empty for a Hugging Face folder, which becomes one here."""

    @property
    def digest(self) -> str:
        return digest_of(self.manifest) if self.manifest else ""

    @property
    def num_bytes(self) -> int:
        return sum(file.num_bytes for file in self.files)


def small_files(listing: Listing) -> tuple[RemoteFile, ...]:
    """What `contents` wants to read."""
    return tuple(listing.files[name] for name in (CONFIG, MANIFEST, INDEX) if name in listing.files)


def contents(source: str, listing: Listing, texts: Mapping[str, bytes]) -> Contents:
    """The model's files, from the listing and the bytes of `small_files`. Raises FetchFailed."""
    if CONFIG not in listing.files:
        raise FetchFailed(
            FailureReason.MODEL_INCOMPLETE,
            f"{source} has no {CONFIG}: not a model's folder; found {_some(listing.files)}",
        )
    shape = _shape(source, texts[CONFIG])
    if MANIFEST in listing.files:
        files = _files_of_manifest(source, listing, texts[MANIFEST])
        return Contents(files, shape, texts[MANIFEST])
    return Contents(_hugging_face_files(source, listing, texts.get(INDEX)), shape)


def _shape(source: str, text: bytes) -> ModelShape:
    try:
        config = json.loads(text)
        shape = ModelShape.from_config(config)
    except ValueError as error:  # JSON's and ours
        said = error if isinstance(error, ModelConfigError) else f"{CONFIG} is not JSON"
        raise FetchFailed(FailureReason.MODEL_NOT_SUPPORTED, f"{source}: {said}; choose another model") from error
    if config.get("quantization_config") is not None:
        raise FetchFailed(
            FailureReason.MODEL_NOT_SUPPORTED,
            f"{source} holds quantised weights, which are not supported; choose the model they came from",
        )
    return shape


def _files_of_manifest(source: str, listing: Listing, manifest: bytes) -> tuple[RemoteFile, ...]:
    try:
        sums = parse_manifest(manifest, f"{source}: {MANIFEST}")
    except ModelFolderError as error:
        raise FetchFailed(FailureReason.MODEL_INCOMPLETE, f"{error}; import the model again") from error
    check_paths(source, sums)
    missing = [path for path in sums if path not in listing.files]
    missing += [name for name in REQUIRED_FILES if name not in sums]
    if not any(path.endswith(WEIGHTS_SUFFIX) for path in sums):
        missing.append(f"*{WEIGHTS_SUFFIX}")
    if missing:
        raise FetchFailed(
            FailureReason.MODEL_INCOMPLETE,
            f"{source} is not the whole model that its {MANIFEST} lists: missing {_some(missing)}; copy it there again",
        )
    return tuple(replace(listing.files[path], sha256=sha256) for path, sha256 in sorted(sums.items()))


def _hugging_face_files(source: str, listing: Listing, index: bytes | None) -> tuple[RemoteFile, ...]:
    if "tokenizer.json" not in listing.files:
        raise FetchFailed(
            FailureReason.MODEL_NOT_SUPPORTED,
            f"{source} has no tokenizer.json: load its tokenizer with transformers and save it again, which writes one",
        )
    weights = _shards(source, listing, index) if index is not None else [_single(source, listing)]
    names = [name for name in _HUGGING_FACE_TEXTS if name in listing.files] + weights
    check_paths(source, names)
    return tuple(listing.files[name] for name in names)


def _shards(source: str, listing: Listing, index: bytes) -> list[str]:
    try:
        names = sorted({str(name) for name in json.loads(index)["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FetchFailed(
            FailureReason.MODEL_INCOMPLETE, f"{source}: {INDEX} has no weight_map; copy it there again"
        ) from error
    if strange := [name for name in names if "/" in name or not name.endswith(WEIGHTS_SUFFIX)]:
        raise FetchFailed(
            FailureReason.MODEL_NOT_SUPPORTED,
            f"{source}: {INDEX} names {strange[0]!r:.200}, which is no *{WEIGHTS_SUFFIX} beside it",
        )
    if missing := [name for name in names if name not in listing.files]:
        raise FetchFailed(
            FailureReason.MODEL_INCOMPLETE,
            f"{source}: {len(missing)} of the {len(names)} files that {INDEX} names are missing: {_some(missing)}",
        )
    return [INDEX, *names]


def _single(source: str, listing: Listing) -> str:
    found = [name for name in listing.files if name.endswith(WEIGHTS_SUFFIX) and "/" not in name]
    if SINGLE in found:
        return SINGLE
    if len(found) == 1:
        return found[0]
    if found:
        raise FetchFailed(
            FailureReason.MODEL_NOT_SUPPORTED,
            f"{source} has several *{WEIGHTS_SUFFIX} and no {INDEX} that says which belong together: {_some(found)}",
        )
    pickles = [name for name in listing.files if name.endswith(_PICKLES)]
    raise FetchFailed(
        FailureReason.MODEL_NOT_SUPPORTED if pickles else FailureReason.MODEL_INCOMPLETE,
        f"{source} has no *{WEIGHTS_SUFFIX}"
        + (
            f", only {_some(pickles)}: pickle files are not fetched, because loading one can run any code; "
            "save the model as safetensors where you trust it"
            if pickles
            else f": not a model's folder, or a part of one; found {_some(listing.files)}"
        ),
    )


def _some(names: Mapping[str, object] | list[str]) -> str:
    shown = ", ".join(f"{name:.80}" for name in sorted(names)[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown or "nothing"
