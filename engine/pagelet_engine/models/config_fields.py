"""Fields of a `config.json` that models read beside the shape: each checked, and what we do not compute refused."""

import math
from collections.abc import Mapping
from typing import Any

from pagelet_api.sizes import ModelConfigError


def require(config: Mapping[str, Any], name: str, wanted: object) -> None:
    """Raises ModelConfigError unless the field has the one value that we compute, or is missing."""
    if (found := config.get(name, wanted)) != wanted:
        raise ModelConfigError(f"config.json: {name}: wanted {wanted!r}, found {found!r}: not supported")


def positive(config: Mapping[str, Any], name: str, default: float) -> float:
    """A positive number; a missing or null field is the default."""
    value = config.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ModelConfigError(f"config.json: {name}: wanted a positive number, found {value!r}")
    return float(value)
