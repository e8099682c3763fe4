"""Kubernetes quantities ("4Gi") and durations ("1h30m"): text in a user's file, bytes and seconds in our code.

Pure parsing. The text is kept as the user wrote it, so that a file read and written again is the same file.
"""

import re
from fractions import Fraction
from typing import Any, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

MAX_TEXT = 32
"""Characters of a quantity or a duration."""
MAX_BYTES = 2**63 - 1
"""What Kubernetes can hold in an int64."""

QUANTITY_PATTERN = r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?$"
MEMORY_PATTERN = r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([kMGTPE]|[KMGTPE]i|[eE][+]?[0-9]{1,2})?$"
DURATION_PATTERN = r"^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$"

_QUANTITY = re.compile(
    r"(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:(?P<suffix>[numkMGTPE]|[KMGTPE]i)|[eE](?P<exponent>[+-]?[0-9]{1,2}))?"
)
_MEMORY = re.compile(MEMORY_PATTERN)
_DURATION = re.compile(r"(?:(?P<h>[0-9]{1,6})h)?(?:(?P<m>[0-9]{1,6})m)?(?:(?P<s>[0-9]{1,6})s)?")
_FACTORS = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "": Fraction(1),
    **{suffix: Fraction(1000**power) for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Fraction(1024**power) for power, suffix in enumerate("KMGTPE", 1)},
}
_SECONDS = {"h": 3600, "m": 60, "s": 1}


class QuantityError(ValueError):
    """A quantity or duration that cannot be read; the message says what was wanted and found."""


def parse_quantity(text: str) -> Fraction:
    """The exact value of a quantity as the Kubernetes API defines it, unsigned: "500m" → 1/2, "1.5Gi" → 1610612736.

    Raises QuantityError.
    """
    match = _QUANTITY.fullmatch(text) if len(text) <= MAX_TEXT else None
    if not match:
        raise QuantityError(f"wanted a quantity such as 4Gi, 500m or 2, found {text!r:.60}")
    number = match["number"]
    value = Fraction(f"0{number}" if number.startswith(".") else number.removesuffix("."))
    if match["exponent"]:
        return value * Fraction(10) ** int(match["exponent"])
    return value * _FACTORS[match["suffix"] or ""]


def parse_bytes(text: str) -> int:
    """Bytes of a memory quantity, parts of a byte rounded up as Kubernetes does. Raises QuantityError below 1 byte."""
    value = parse_quantity(text) if len(text) <= MAX_TEXT and _MEMORY.fullmatch(text) else Fraction(0)
    if value < 1:
        hint = "; m means a thousandth, M and Mi mean millions" if text.endswith("m") else ""
        raise QuantityError(f"wanted memory such as 4Gi, 512Mi or 40G, found {text!r:.60}{hint}")
    num_bytes = -(-value.numerator // value.denominator)
    if num_bytes > MAX_BYTES:
        raise QuantityError(f"wanted less than 8Ei of memory, found {text!r}")
    return num_bytes


def mib(num_bytes: int) -> str:
    """Bytes for a person's eyes: "1,024 MiB"."""
    return f"{num_bytes / 2**20:,.0f} MiB"


def parse_duration(text: str) -> int:
    """Seconds of a duration in whole hours, minutes and seconds, in that order: "90s", "1h30m".

    Raises QuantityError.
    """
    match = _DURATION.fullmatch(text) if len(text) <= MAX_TEXT else None
    seconds = sum(int(match[unit] or 0) * factor for unit, factor in _SECONDS.items()) if match else 0
    if not seconds:
        raise QuantityError(f"wanted a duration of at least a second such as 90s, 30m or 1h30m, found {text!r:.60}")
    return seconds


class _Text(str):
    """Text that was parsed when it was made, so that its value can be asked for without a doubt."""

    __slots__ = ()
    _pattern: str

    def __new__(cls, text: str) -> Self:
        cls._parse(text)
        return super().__new__(cls, text)

    @classmethod
    def _parse(cls, text: str) -> int:
        raise NotImplementedError

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema(strict=True))

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "pattern": cls._pattern, "minLength": 1, "maxLength": MAX_TEXT}


class Memory(_Text):
    """A memory quantity: "4Gi"."""

    __slots__ = ()
    _pattern = MEMORY_PATTERN

    @classmethod
    def _parse(cls, text: str) -> int:
        return parse_bytes(text)

    @property
    def num_bytes(self) -> int:
        return parse_bytes(self)


class Duration(_Text):
    """A duration: "30m"."""

    __slots__ = ()
    _pattern = DURATION_PATTERN

    @classmethod
    def _parse(cls, text: str) -> int:
        return parse_duration(text)

    @property
    def seconds(self) -> int:
        return parse_duration(self)
