"""`docs/configuration.md`: every field that a user or an operator can set, from the schemas themselves."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pagelet_api.config import EngineConfig, GatewayConfig
from pagelet_api.quantities import DURATION_PATTERN, MEMORY_PATTERN
from pagelet_api.v1alpha1.schema import structural_schema

Node = Mapping[str, Any]

NAMED_PATTERNS = {MEMORY_PATTERN: "memory", DURATION_PATTERN: "duration"}

HEAD = """\
# Configuration

Generated from the types in `engine/pagelet_api` by `make generate`. Do not edit.

One file says everything: an `InferenceService`. `pagelet up -f FILE` runs it on this machine; a commented one is in
`manifests/samples/`. A field that is not in these tables is an error, never ignored. Quantities and durations are those
of Kubernetes: `4Gi`, `512Mi`, `40G`; `90s`, `30m`, `1h30m`. A field set to null is the same as a field left out.

## InferenceService: spec

A change under `spec.model`, `spec.engine` or `spec.resources` makes a new revision: new engines replace the old ones.
"""

RULES_HEAD = """
## InferenceService: rules

What fields may not say together, or about a model, is in [rules.md](rules.md), with the sentence shown.
"""

STATUS_HEAD = """
## InferenceService: status

What is, never what was asked for. A field that is absent is not known yet.
"""

CONFIG_HEAD = """
## What containers are started with

Nobody writes these files by hand: the operator renders them from the spec, one JSON file a container. They are listed
because they are what a log or a ConfigMap shows.
"""


def configuration_page(crd: Mapping[str, Any]) -> str:
    """The page's Markdown, from the CustomResourceDefinition and the types of the containers' files."""
    root = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    sections = [
        HEAD,
        *_sections(root["properties"]["spec"], "spec"),
        RULES_HEAD,
        STATUS_HEAD,
        *_sections(root["properties"]["status"], "status"),
        CONFIG_HEAD,
        *(_section(structural_schema(model), model.__name__) for model in (EngineConfig, GatewayConfig)),
    ]
    return "\n".join(section.strip("\n") + "\n" for section in sections)


def _sections(node: Node, path: str) -> Iterator[str]:
    """A section for the object at `path`, then one for each object inside it."""
    yield _section(node, path)
    for name, child in node["properties"].items():
        if "properties" in child:
            yield from _sections(child, f"{path}.{name}")
        elif "properties" in child.get("items", {}) and not _is_opaque(child["items"]):
            yield from _sections(child["items"], f"{path}.{name}[]")


def _is_opaque(node: Node) -> bool:
    return bool(node.get("x-kubernetes-preserve-unknown-fields"))


def _section(node: Node, title: str) -> str:
    required = node.get("required", ())
    rows = (
        (f"`{name}`", _type(child), "required" if name in required else _default(child), child.get("description", ""))
        for name, child in node["properties"].items()
    )
    return f"### {title}\n\n{node['description']}\n\n{table(('field', 'type', 'default', 'meaning'), rows)}"


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _type(node: Node) -> str:
    match node:
        case {"x-kubernetes-preserve-unknown-fields": True}:
            return "object, as Kubernetes has it"
        case {"enum": values}:
            return ", ".join(f"`{value}`" for value in values)
        case {"x-kubernetes-int-or-string": True}:
            return "quantity"
        case {"pattern": pattern} if pattern in NAMED_PATTERNS:
            return NAMED_PATTERNS[pattern]
        case {"type": "integer", "minimum": minimum}:
            most = f" to {node['maximum']}" if "maximum" in node else " or more"
            return f"{minimum}{most}" + (f", in steps of {node['multipleOf']}" if "multipleOf" in node else "")
        case {"type": "array", "items": items}:
            return f"list{_at_most(node, 'maxItems')} of {_type(items)}"
        case {"type": "object", "additionalProperties": values}:
            return f"map{_at_most(node, 'maxProperties')} of {_type(values)}"
        case {"type": "string"}:
            return f"text{_at_most(node, 'maxLength')}"
    return str(node["type"])


def _at_most(node: Node, bound: str) -> str:
    return f" (≤ {node[bound]})" if bound in node else ""


def _default(node: Node) -> str:
    match node.get("default"):
        case None:
            return ""
        case "" | []:
            return "empty"
        case {}:
            return "its fields' own"
        case bool() as flag:
            return f"`{str(flag).lower()}`"
        case value:
            return f"`{value}`"
