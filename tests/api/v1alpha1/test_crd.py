"""The CustomResourceDefinition: what the API server demands of one, checked without an API server."""

import json
import re

import pytest
from pagelet_api.names import GROUP, VERSION
from pagelet_api.v1alpha1 import API_VERSION, InferenceServiceStatus, load_inference_service
from pagelet_api.v1alpha1.crd import custom_resource_definition
from pagelet_api.v1alpha1.rules import RULES

CRD = custom_resource_definition()
(VERSION_OBJECT,) = CRD["spec"]["versions"]
ROOT = VERSION_OBJECT["schema"]["openAPIV3Schema"]
SPEC, STATUS = ROOT["properties"]["spec"], ROOT["properties"]["status"]

TYPES = {"string", "integer", "boolean", "object", "array"}
KEYS_OF_TYPE = {
    "string": {"enum", "pattern", "minLength", "maxLength", "format"},
    "integer": {"minimum", "maximum", "multipleOf", "format"},
    "boolean": set(),
    "array": {"items", "maxItems", "minItems", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"},
    "object": {"properties", "required", "additionalProperties", "maxProperties"},
}
ANY_KEYS = {"type", "description", "default", "x-kubernetes-validations"}


def _nodes(node, path):
    """Every schema in the schema, with the path of its value."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from _nodes(child, f"{path}.{name}")
    if "items" in node:
        yield from _nodes(node["items"], f"{path}[]")
    if "additionalProperties" in node:
        yield from _nodes(node["additionalProperties"], f"{path}{{}}")


ALL_NODES = [*_nodes(SPEC, "spec"), *_nodes(STATUS, "status")]
EACH_NODE = pytest.mark.parametrize("node", [node for _, node in ALL_NODES], ids=[path for path, _ in ALL_NODES])


@EACH_NODE
def test_a_schema_is_structural(node):
    """One type, and only keywords that belong to it: so no $ref, no anyOf, no null, no title, no uniqueItems."""
    if node.get("x-kubernetes-int-or-string"):
        assert node.keys() <= {"x-kubernetes-int-or-string", "pattern", "maxLength", "description"}
        return
    assert node["type"] in TYPES
    if node.get("x-kubernetes-preserve-unknown-fields"):
        assert node["type"] == "object"
        assert node.keys() <= {"x-kubernetes-preserve-unknown-fields", "type", "description", "properties", "required"}
        return
    assert node.keys() <= ANY_KEYS | KEYS_OF_TYPE[node["type"]]
    assert not ("properties" in node and "additionalProperties" in node)
    assert set(node.get("required", ())) <= set(node.get("properties", ()))
    if node["type"] == "integer":
        assert node["format"] in ("int32", "int64")


@EACH_NODE
def test_whatever_can_grow_is_bounded(node):
    """The API server refuses rules whose cost it cannot bound."""
    match node:
        case {"x-kubernetes-int-or-string": True} | {"type": "string"}:
            assert "maxLength" in node or "enum" in node or node.get("format") == "date-time"
        case {"type": "array"}:
            assert node["maxItems"] <= 64
        case {"type": "object", "additionalProperties": _}:
            assert node["maxProperties"] <= 64
        case {"type": "object", "x-kubernetes-preserve-unknown-fields": True}:
            pass  # Kubernetes' own to judge; its lists are bounded
        case {"type": "object"}:
            assert node["properties"]


@EACH_NODE
def test_patterns_are_anchored(node):
    if "pattern" in node:
        assert node["pattern"].startswith("^")
        assert node["pattern"].endswith("$")
        re.compile(node["pattern"])


@pytest.mark.parametrize(
    "node",
    [node for path, node in ALL_NODES if path[-1] not in "]}"],
    ids=[path for path, _ in ALL_NODES if path[-1] not in "]}"],
)
def test_kubectl_explain_has_a_sentence_for_every_field(node):
    assert node["description"].endswith((".", "…"))
    assert "\n" not in node["description"]


def test_a_default_is_a_value_of_its_own_schema():
    kinds = {"string": str, "integer": int, "boolean": bool, "object": dict, "array": list}
    for path, node in ALL_NODES:
        if "default" in node:
            assert type(node["default"]) is kinds[node["type"]], path
            assert node["default"] in node.get("enum", [node["default"]]), path
            assert re.search(node.get("pattern", ""), str(node["default"])), path


def test_status_has_no_defaults():
    """Absent means unknown; a zero that nobody measured would be a lie."""
    assert all("default" not in node for _, node in _nodes(STATUS, "status"))


def _with_defaults(schema, value):
    """What the API server does to an object before anybody sees it."""
    value = dict(value)
    for name, child in schema.get("properties", {}).items():
        if name not in value and "default" in child:
            value[name] = child["default"]
        if name in value and child["type"] == "object":
            value[name] = _with_defaults(child, value[name])
    return value


def test_defaults_of_the_cluster_are_those_of_a_local_file():
    spec = {"model": {"source": {"path": "x"}}}
    document = {"apiVersion": API_VERSION, "kind": "InferenceService", "metadata": {"name": "chat"}, "spec": spec}
    defaulted = {**document, "spec": _with_defaults(SPEC, spec)}
    assert defaulted["spec"]["engine"]["maxNumSeqs"] == 256
    assert load_inference_service(defaulted) == load_inference_service(document)


def _at(path):
    """The schema at a JSON path such as .status.conditions[?(…)].reason."""
    node = ROOT
    for name in re.sub(r"\[\?[^]]*\]", "[]", path).removeprefix(".").split("."):
        node = node["properties"][name.removesuffix("[]")]
        if name.endswith("[]"):
            node = node["items"]
    return node


@pytest.mark.parametrize("column", VERSION_OBJECT["additionalPrinterColumns"], ids=lambda column: column["name"])
def test_a_printer_column_shows_a_field_that_exists(column):
    if column["jsonPath"] == ".metadata.creationTimestamp":
        assert column["type"] == "date"
    else:
        assert column["type"] == _at(column["jsonPath"])["type"]


def test_scale_and_status_are_subresources_of_fields_that_exist():
    subresources = VERSION_OBJECT["subresources"]
    assert subresources["status"] == {}
    assert _at(subresources["scale"]["specReplicasPath"])["type"] == "integer"
    assert _at(subresources["scale"]["statusReplicasPath"])["type"] == "integer"
    assert _at(subresources["scale"]["labelSelectorPath"])["type"] == "string"
    assert _at(".spec.replicas")["default"] == 1


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.cel)
def test_a_rule_stands_where_the_fields_it_names_are_there_without_asking(rule):
    node = _at(f".{rule.path}") if rule.path else ROOT
    assert {"rule": rule.cel, "message": rule.sentence} in node["x-kubernetes-validations"]
    asked = set(re.findall(r"has\(self\.(\w+)\)", rule.cel))
    for name in set(re.findall(r"self\.(\w+)", rule.cel)):
        field = node["properties"][name]
        assert name == "metadata" or name in asked or "default" in field or name in node.get("required", ())


def test_rules_touch_only_the_name_of_metadata():
    """Of metadata, the API server shows rules nothing but name and generateName."""
    assert ROOT["properties"]["metadata"] == {"type": "object"}
    assert {name for rule in RULES for name in re.findall(r"self\.metadata\.(\w+)", rule.cel)} == {"name"}


def test_names_are_those_of_the_wire():
    names = CRD["spec"]["names"]
    assert CRD["metadata"]["name"] == f"{names['plural']}.{GROUP}"
    assert f"{GROUP}/{VERSION_OBJECT['name']}" == API_VERSION == f"{GROUP}/{VERSION}"
    assert (names["kind"], names["shortNames"]) == ("InferenceService", ["infsvc"])
    assert (VERSION_OBJECT["served"], VERSION_OBJECT["storage"]) == (True, True)


def test_it_fits_into_the_annotation_of_a_client_side_apply():
    assert len(json.dumps(CRD)) < 200_000


def test_a_status_is_written_without_what_is_not_known():
    status = InferenceServiceStatus(observed_generation=1, ready_replicas=0)
    written = status.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert written == {"observedGeneration": 1, "readyReplicas": 0}
