"""A user's file, already parsed from YAML or JSON, into an `InferenceService`, or into errors that say what to do.

Checks what the API server would check, with the same result: null is the same as left out, unknown fields are errors,
types are exact. Refuses to know YAML and the file system.
"""

import difflib
import json
import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pagelet_api.v1alpha1.inference_service import InferenceService
from pagelet_api.v1alpha1.rules import RULES


class ManifestError(ValueError):
    """A file that is no valid InferenceService; `problems` holds one sentence a wrong field."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def load_inference_service(document: object) -> InferenceService:
    """Check one document of a file. Raises ManifestError with every problem found, not only the first.

    First the types of all fields; where those are right, the rules between fields.
    """
    if not isinstance(document, Mapping):
        raise ManifestError([f"file: wanted one InferenceService, found {_shown(document)}"])
    problems: list[str] = []
    clean = _as_json(document, "", problems)
    if problems:
        raise ManifestError(problems)
    try:
        # By way of JSON, as the API server sees it: there a list may become a tuple, but "1" never an integer.
        service = InferenceService.model_validate_json(json.dumps(clean), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        raise ManifestError([_sentence(detail) for detail in error.errors()]) from None
    if broken := [rule.sentence for rule in RULES if not rule.holds(service)]:
        raise ManifestError(broken)
    return service


def _as_json(value: Any, path: str, problems: list[str]) -> Any:
    """A copy without nulls; whatever JSON does not have (dates, numbers as keys, NaN) becomes a problem."""
    if isinstance(value, Mapping):
        problems += [
            f"{_join(path, key)}: wanted text as a field's name, found {key!r}; quote it"
            for key in value
            if not isinstance(key, str)
        ]
        return {
            key: _as_json(item, _join(path, key), problems)
            for key, item in value.items()
            if item is not None and isinstance(key, str)
        }
    if isinstance(value, list):
        return [_as_json(item, f"{path}[{index}]", problems) for index, item in enumerate(value)]
    if value is None or isinstance(value, str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, int):
        if abs(value) < 2**63:
            return value
        problems.append(f"{path}: wanted a number of at most 64 bits, found one of {value.bit_length()}")
        return None
    problems.append(
        f"{path}: wanted text, a number, a list or a map, found the {type(value).__name__} {value}; quote it"
    )
    return None


def _sentence(error: ErrorDetails) -> str:
    """One of pydantic's errors in our form: path: what was wanted, what was found, what to do."""
    path, context, found = _path(error["loc"]), error.get("ctx", {}), _shown(error["input"])
    match error["type"]:
        case "missing":
            return f"{path}: missing; add it"
        case "extra_forbidden":
            return f"{path}: there is no such field{_nearest(error['loc'])}"
        case "enum" | "literal_error":
            return f"{path}: wanted {context['expected']}, found {found}"
        case "value_error":
            return f"{path}: {context['error']}"
        case "string_type":
            return f"{path}: wanted text, found {found}; quote it if it is meant"
        case "int_type" | "int_from_float" | "int_parsing_size":
            return f"{path}: wanted a whole number without quotes, found {found}"
        case "bool_type":
            return f"{path}: wanted true or false without quotes, found {found}"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"{path}: wanted a map of fields, found {found}"
        case "tuple_type" | "list_type":
            return f"{path}: wanted a list, found {found}"
        case "string_pattern_mismatch":
            return f"{path}: wanted text that matches {context['pattern']}, found {found}"
        case "greater_than_equal":
            return f"{path}: wanted {context['ge']} or more, found {found}"
        case "less_than_equal":
            return f"{path}: wanted {context['le']} or less, found {found}"
        case "multiple_of":
            return f"{path}: wanted a multiple of {context['multiple_of']}, found {found}"
        case "string_too_long" | "too_long":
            return f"{path}: wanted at most {context['max_length']} {_counted(error)}, found {found}"
        case "string_too_short" | "too_short":
            return f"{path}: wanted at least {context['min_length']} {_counted(error)}, found {found}"
        case _:
            return f"{path}: {error['msg']}, found {found}"


def _counted(error: ErrorDetails) -> str:
    return "characters" if error["type"].startswith("string") else "entries"


def _nearest(location: tuple[int | str, ...]) -> str:
    """The field that was probably meant, or all fields that exist there."""
    fields = _fields_at(location[:-1])
    known = [field.alias or name for name, field in fields.items()]
    if close := difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.7):
        return f"; did you mean {close[0]}?"
    return f"; there are: {', '.join(known)}"


def _fields_at(location: tuple[int | str, ...]) -> dict[str, Any]:
    """The fields of the type found by walking `location` down from the root."""
    model: type[BaseModel] = InferenceService
    for part in location:
        annotations = [field.annotation for name, field in model.model_fields.items() if part in (name, field.alias)]
        nested = [a for a in annotations if isinstance(a, type) and issubclass(a, BaseModel)]
        if not nested:
            return {}
        model = nested[0]
    return dict(model.model_fields)


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        path = f"{path}[{part}]" if isinstance(part, int) else _join(path, part)
    return path or "file"


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _shown(value: object) -> str:
    """The value as a user would recognise it, in a few characters."""
    if isinstance(value, Mapping):
        return "a map"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
