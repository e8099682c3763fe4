"""Which names of a source may become files here: plain relative ones, and nothing else.

The names come from whoever can write to the bucket or the repository.
"""

import re
from collections.abc import Iterable

from pagelet_api.model_report import FailureReason

from pagelet_engine.fetcher.failure import FetchFailed

# Printable, no backslash; no part that is empty or begins with a dot, which rules out "." and ".." and hidden files.
_PART = re.compile(r"[^./\\\x00-\x1f\x7f-\x9f\ud800-\udfff][^/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]*")
_LONGEST_PART, _LONGEST_PATH = 255, 1024


def is_safe(path: str) -> bool:
    parts = path.split("/")
    return (
        len(path.encode(errors="replace")) <= _LONGEST_PATH
        and all(_PART.fullmatch(part) for part in parts)
        and all(len(part.encode()) <= _LONGEST_PART for part in parts)
    )


def check_paths(source: str, paths: Iterable[str]) -> None:
    """Raises FetchFailed for a path that would leave the folder, or that is a file and a folder at once."""
    known = set(paths)
    for path in sorted(known):
        if not is_safe(path):
            raise FetchFailed(
                FailureReason.MODEL_NOT_SUPPORTED,
                f"{source} holds {path!r:.200}, which is no name for a model's file: wanted a relative path without "
                "'..', backslashes, control characters and hidden parts; rename it",
            )
        parents = path.split("/")[:-1]
        if clash := next((p for n in range(len(parents)) if (p := "/".join(parents[: n + 1])) in known), None):
            raise FetchFailed(
                FailureReason.MODEL_NOT_SUPPORTED,
                f"{source} holds {clash!r:.200} both as a file and as a folder; remove one of them",
            )
