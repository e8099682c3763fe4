"""From bytes to a validated body, or to the one sentence that says what is wrong with it.

JSON is read strictly: UTF-8 without lone surrogates, no NaN or Infinity, no name twice in one object, nesting within
Python's own recursion limit (RFC 8259 leaves all of these to the receiver).
"""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from pagelet_api.openai.errors import OpenAIError, invalid
from pagelet_api.openai.fates import IGNORED, Refusal
from pagelet_api.openai.values import describe

Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Parsed(Generic[Body]):
    body: Body
    ignored: tuple[str, ...]
    """Fields that were sent and have no effect."""


def _refuse_constant(literal: str) -> NoReturn:
    raise ValueError(f"{literal} is not JSON")


def _distinct_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the name {twice[:60]!r} appears twice in one object")
    return fields


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_distinct_names)


def parse_json(data: bytes) -> dict[str, Any]:
    """The JSON object in `data`; raises OpenAIError 400."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _broken(f"byte {error.start} is not UTF-8") from error
    if not text.strip():
        raise _broken("the body is empty")
    try:
        value = _DECODER.decode(text)
        if "\\u" in text and ("\\ud" in text or "\\uD" in text):  # perhaps half of a surrogate pair
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise _broken(f"{error.msg} at line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise _broken("it is nested too deeply") from error
    except UnicodeEncodeError as error:
        raise _broken("a \\ud800–\\udfff escape stands alone; such a pair encodes one character") from error
    except ValueError as error:  # ours above, or an integer of thousands of digits
        raise _broken(str(error)[:200]) from error
    if not isinstance(value, dict):
        raise _broken(f"wanted an object, found {describe(value)}")
    return value


def _broken(reason: str) -> OpenAIError:
    return invalid(f"The body is not a usable JSON object: {reason}.", code="invalid_json")


def parse_body(body_type: type[Body], data: Mapping[str, Any], refused: Mapping[str, Refusal]) -> Parsed[Body]:
    """Validate `data`; raises OpenAIError 400 that names the first wrong field."""
    known = body_type.model_fields
    wanted: dict[str, Any] = {}
    ignored: list[str] = []
    for name, value in data.items():
        if name in known:
            wanted[name] = value
        elif name in IGNORED:
            if value is not None:
                ignored.append(name)
        elif (refusal := refused.get(name)) is not None:
            if refusal.applies(value):
                raise invalid(f"{name}: {refusal.sentence}.", name, "unsupported_parameter")
        else:
            raise _unknown(name, known.keys() | refused.keys() | IGNORED.keys())
    try:
        return Parsed(body_type.model_validate(wanted), tuple(ignored))
    except ValidationError as error:
        raise _sentence(error, wanted) from error


def _unknown(name: str, names: set[str]) -> OpenAIError:
    near = difflib.get_close_matches(name[:64], names, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return invalid(f"Unknown field {name[:64]!r}.{hint}", name[:64], "unknown_parameter")


def _sentence(error: ValidationError, data: object) -> OpenAIError:
    detail = error.errors(include_url=False, include_context=False, include_input=False)[0]
    path = _path(detail["loc"])
    if detail["type"] == "missing":
        return invalid(f"{path}: this field is required.", path, "missing_required_parameter")
    if detail["type"] == "extra_forbidden":
        return invalid(f"{path}: unknown field.", path, "unknown_parameter")
    if detail["type"] == "value_error":
        # A rule about several fields has no place of its own and begins with the name of the field to change.
        message = detail["msg"].removeprefix("Value error, ")
        return invalid(f"{path}: {message}." if path else f"{message}.", path or message.partition(":")[0])
    wanted = detail["msg"].replace("Input should be", "wanted", 1)
    for key in detail["loc"]:
        try:
            data = data[key]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            break
    code = "invalid_type" if detail["type"].endswith("_type") else "invalid_value"
    return invalid(f"{path}: {wanted}, found {describe(data)}.", path, code)


def _path(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
