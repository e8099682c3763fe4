"""A YAML file into the one InferenceService it holds; every complaint names file and line.

Owns YAML and relative paths. What a valid InferenceService is, `pagelet_api.v1alpha1` knows.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pagelet_api.v1alpha1 import API_VERSION, KIND, InferenceService, ManifestError, load_inference_service

# libyaml where it was built in: ten times faster, the same errors and marks.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ManifestFileError(ValueError):
    """A file that holds no usable InferenceService; one `file:line: sentence` a problem."""


def read_manifest(path: Path, name: str = "") -> InferenceService:
    """Read the InferenceService in the file at `path` ("-": standard input).

    A file may hold several documents, each of which must be an InferenceService; `name` chooses one, and is needed
    only where there is more than one. A relative `spec.model.source.path` begins at the file's folder.
    Raises ManifestFileError.
    """
    services = read_all(path)
    chosen = [service for service in services if name in ("", service.metadata.name)]
    found = ", ".join(service.metadata.name for service in services)
    if not services:
        raise ManifestFileError(f"{path}: wanted an {KIND}, found an empty file")
    if not chosen:
        raise ManifestFileError(f"{path}: no {KIND} is named {name!r}; there are: {found}")
    if len(chosen) > 1:
        hint = "choose one with --name" if len({s.metadata.name for s in chosen}) > 1 else "their names must differ"
        raise ManifestFileError(f"{path}: {len(chosen)} InferenceServices ({found}); {hint}")
    return chosen[0]


def read_all(path: Path) -> list[InferenceService]:
    """Every InferenceService in the file, in order. Raises ManifestFileError."""
    if str(path) == "-":
        text, folder = sys.stdin.buffer.read(), Path.cwd()
    else:
        try:
            text, folder = path.read_bytes(), path.absolute().parent
        except OSError as error:
            raise ManifestFileError(f"cannot read {path}: {error.strerror}") from error
    problems: list[str] = []
    services = []
    for node, document in _documents(text, path):
        try:
            service = _load(document, node)
        except ManifestError as error:
            problems += [f"{path}:{_line_of(problem, node)}: {problem}" for problem in error.problems]
        else:
            services.append(_with_absolute_path(service, folder))
    if problems:
        raise ManifestFileError("\n".join(problems))
    return services


def _documents(text: bytes, path: Path) -> Iterator[tuple[yaml.Node, object]]:
    """The non-empty documents of a stream, each with its nodes, which know their lines."""
    try:
        loader = _Loader(text)
        while loader.check_node():
            node = loader.get_node()
            if duplicate := _duplicate_key(node):
                raise ManifestFileError(
                    f"{path}:{duplicate.start_mark.line + 1}: {duplicate.value!r} is given twice; remove one"
                )
            document = loader.construct_document(node)
            if document is not None:
                yield node, document
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f":{mark.line + 1}" if mark else ""
        raise ManifestFileError(f"{path}{place}: not valid YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, ManifestFileError):
            raise
        raise ManifestFileError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error


def _load(document: object, node: yaml.Node) -> InferenceService:
    """Check one document. That it is something else altogether is said in one sentence, not as fifty wrong fields."""
    if isinstance(document, dict):
        kind, api_version = document.get("kind"), document.get("apiVersion")
        if kind != KIND:
            raise ManifestError([f"kind: wanted {KIND}, found {kind or 'none'}; other objects belong in another file"])
        if api_version != API_VERSION:
            raise ManifestError([f"apiVersion: wanted {API_VERSION}, found {api_version or 'none'}"])
    return load_inference_service(document)


def _with_absolute_path(service: InferenceService, folder: Path) -> InferenceService:
    source = service.spec.model.source
    if source.path is None:
        return service
    absolute = source.model_copy(update={"path": str((folder / source.path).resolve())})
    model = service.spec.model.model_copy(update={"source": absolute})
    return service.model_copy(update={"spec": service.spec.model_copy(update={"model": model})})


def _duplicate_key(node: yaml.Node) -> yaml.ScalarNode | None:
    """A key that its map has already: YAML would let the last one win in silence."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen and key.value != "<<":
                    return key
                seen.add(key.value)
    children = [value for _, value in node.value] if isinstance(node, yaml.MappingNode) else node.value
    if isinstance(node, yaml.ScalarNode):
        return None
    return next((found for child in children if (found := _duplicate_key(child))), None)


def _line_of(problem: str, root: yaml.Node) -> int:
    """The line of the place that a problem's sentence begins with, or of the nearest that exists in the file."""
    path, _, _ = problem.partition(": ")
    node, line = root, root.start_mark.line
    while path:
        step = _step(node, path)
        if step is None:
            break
        node, line, path = step
    return line + 1


def _step(node: yaml.Node, path: str) -> tuple[yaml.Node, int, str] | None:
    """One step along `path` ("spec.model.aliases[1]"): the node there, its line, and what is left of the path."""
    candidates = []
    if isinstance(node, yaml.MappingNode):
        candidates = [(key.value, value, key) for key, value in node.value if isinstance(key, yaml.ScalarNode)]
    elif isinstance(node, yaml.SequenceNode):
        candidates = [(f"[{index}]", item, item) for index, item in enumerate(node.value)]
    # Keys may contain dots (nvidia.com/gpu): the longest that fits is meant.
    for name, value, place in sorted(candidates, key=lambda candidate: -len(candidate[0])):
        rest = path.removeprefix(name)
        if path.startswith(name) and (not rest or rest[0] in ".["):
            return value, place.start_mark.line, rest.removeprefix(".")
    return None
