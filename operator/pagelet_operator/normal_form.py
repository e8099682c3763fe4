"""A part of the spec in the one form that all its spellings share: 4Gi and 4096Mi, "1" and 1, 90s and 1m30s.

For hashing and comparing alone. What has its default is left out, so that a field that a release adds changes no old
hash.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from pagelet_api.quantities import Duration, Memory, parse_quantity
from pagelet_api.v1alpha1 import Resources
from pydantic import BaseModel


def normal_form(part: BaseModel) -> dict[str, Any]:
    """The part's fields by their names in a file, as JSON values."""
    normal = {}
    for name, field in type(part).model_fields.items():
        value = _value(part, getattr(part, name))
        if field.is_required() or value != _value(part, field.get_default(call_default_factory=True)):
            normal[field.alias or name] = value
    return normal


def _value(part: BaseModel, value: Any) -> Any:
    match value:
        case BaseModel():
            return normal_form(value)
        case Memory():
            return value.num_bytes
        case Duration():
            return value.seconds
        case Enum():
            return value.value
        case tuple():
            return [_value(part, item) for item in value]
        case Mapping() if isinstance(part, Resources):
            return {name: str(parse_quantity(str(quantity))) for name, quantity in value.items()}
    return value
