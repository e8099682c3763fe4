"""The CustomResourceDefinition `inferenceservices.pagelet.io`, made of the types and the rules."""

from typing import Any

from pagelet_api.names import GROUP, VERSION
from pagelet_api.v1alpha1.inference_service import KIND, InferenceService
from pagelet_api.v1alpha1.rules import RULES
from pagelet_api.v1alpha1.schema import structural_schema
from pagelet_api.v1alpha1.spec import InferenceServiceSpec
from pagelet_api.v1alpha1.status import InferenceServiceStatus

PLURAL = "inferenceservices"
SHORT_NAME = "infsvc"

_COLUMNS = (
    ("Ready", "string", ".status.ready", "Ready and wanted engine pods"),
    ("Model", "string", ".spec.model.name", "Name that clients ask for, where it is not the object's"),
    ("Accelerator", "string", ".spec.accelerator.product", "Accelerator of an engine pod"),
    ("Revision", "string", ".status.currentRevision", "The revision that serves"),
    ("URL", "string", ".status.url", "Where clients find the API"),
    ("Reason", "string", ".status.conditions[?(@.type=='Available')].reason", "Why it is, or is not, available"),
    ("Age", "date", ".metadata.creationTimestamp", "Time since it was created"),
)


def custom_resource_definition() -> dict[str, Any]:
    """The object to apply, in the form of apiextensions.k8s.io/v1; the same value on every call."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": [SHORT_NAME],
                "categories": ["all"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": [
                        {"name": name, "type": type_, "jsonPath": path, "description": description}
                        for name, type_, path, description in _COLUMNS
                    ],
                    "schema": {"openAPIV3Schema": _schema()},
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                }
            ],
        },
    }


def _schema() -> dict[str, Any]:
    root: dict[str, Any] = {
        "description": InferenceService.__doc__,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": structural_schema(InferenceServiceSpec),
            "status": structural_schema(InferenceServiceStatus, defaults=False),
        },
    }
    for rule in RULES:
        node = root
        for name in rule.path.split(".") if rule.path else ():
            node = node["properties"][name]
        node.setdefault("x-kubernetes-validations", []).append({"rule": rule.cel, "message": rule.sentence})
    return root
