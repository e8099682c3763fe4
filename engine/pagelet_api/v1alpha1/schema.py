"""pydantic's JSON schema → the structural schema that a CustomResourceDefinition demands.

A structural schema has no $ref, no anyOf and no null; defaults are real values; unknown fields are refused by the API
server, not by the schema. Whatever this module does not understand is an error here rather than in somebody's cluster.
See "Specifying a structural schema" in the Kubernetes documentation of CustomResourceDefinitions.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

# What is copied as it is, in the order in which a person reads it.
_KEPT = (
    *("description", "type", "format", "enum", "default", "minimum", "maximum", "multipleOf", "pattern"),
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
    *(
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
    ),
    *("required", "properties", "items", "additionalProperties"),
)
# Titles repeat the names; bounds on a map's keys have no place in a structural schema; and the API server refuses
# unknown fields without being told.
_DROPPED = ("title", "propertyNames", "$defs")
_INT32_MAX = 2**31 - 1


def structural_schema(model: type[BaseModel], *, defaults: bool = True) -> dict[str, Any]:
    """The structural schema of a pydantic model; without `defaults` for a status, where absent means unknown."""
    schema = model.model_json_schema(by_alias=True)
    return _node(schema, schema.get("$defs", {}), defaults)


def _node(schema: Mapping[str, Any], definitions: Mapping[str, Any], defaults: bool) -> dict[str, Any]:
    node = _without_references(schema, definitions)
    for key in _DROPPED:
        node.pop(key, None)
    if "description" in node:
        node["description"] = " ".join(node["description"].split())
    if "const" in node:
        node["enum"] = [node.pop("const")]
    if node.get("additionalProperties") is False:
        del node["additionalProperties"]
    for key in {"items", "additionalProperties"} & node.keys():
        node[key] = _node(node[key], definitions, defaults)
    if "properties" in node:
        node["properties"] = {name: _node(child, definitions, defaults) for name, child in node["properties"].items()}
    if node.get("type") == "integer":
        _complete_integer(node)
    if not defaults or node.get("default", "") is None:
        node.pop("default", None)
    elif isinstance(node.get("default"), dict):
        # Whole: the API server judges a default by the rules before it fills in the defaults of its fields.
        fields = node.get("properties", {})
        node["default"] = {name: field["default"] for name, field in fields.items() if "default" in field}
    assert node.keys() <= set(_KEPT), node.keys() - set(_KEPT)
    return {key: node[key] for key in _KEPT if key in node}


def _without_references(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with its $ref, and the one alternative to null of its anyOf, put in place; what stands beside wins."""
    flat = dict(schema)
    while "$ref" in flat or "anyOf" in flat:
        if "$ref" in flat:
            target = definitions[flat.pop("$ref").removeprefix("#/$defs/")]
        else:
            (target,) = [choice for choice in flat.pop("anyOf") if choice != {"type": "null"}]
        flat = {**target, **flat}
    return flat


def _complete_integer(node: dict[str, Any]) -> None:
    """Kubernetes wants a format, and has no exclusive bounds as JSON schema writes them."""
    if "exclusiveMinimum" in node:
        node["minimum"] = node.pop("exclusiveMinimum") + 1
    node.setdefault("format", "int32" if node.get("maximum", _INT32_MAX + 1) <= _INT32_MAX else "int64")
