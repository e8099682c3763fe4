"""Nodes that are not there: kwok says that they are ready, and that every pod on them runs.

Owns how such nodes look and how their pods become ready. A pod that carries the annotation `HOLD` stays as it is, until
the annotation goes or a test writes the pod's status itself.
"""

from collections.abc import Mapping
from typing import Any

import yaml

from .layout import BINARIES, Layout
from .node import GPU, GPU_LABELS
from .program import Program

HOLD = "e2e.pagelet.io/hold"
NODE_LABELS: Mapping[str, str] = {"type": "kwok", **GPU_LABELS}

_CAPACITY: Mapping[str, str] = {"cpu": "64", "memory": "512Gi", "pods": "110", "ephemeral-storage": "1Ti", GPU: "8"}


def kwok(layout: Layout) -> Program:
    """`kwok-stages.yaml` must lie in the layout's folder."""
    return Program(
        "kwok",
        [
            f"{BINARIES}/kwok",
            f"--kubeconfig={layout.kubeconfig('kwok')}",
            f"--config={layout.folder}/kwok-stages.yaml",
            "--manage-all-nodes=false",
            f"--manage-nodes-with-label-selector=type={NODE_LABELS['type']}",
            f"--cidr={layout.pod_prefix}.0.0/16",
            f"--node-ip={layout.address}",
            f"--server-address={layout.private_address}:10247",
        ],
    )


def stages(upstream: str) -> str:
    """kwok's own stages (YAML documents), with `HOLD` heeded where pods become ready."""
    documents = list(yaml.safe_load_all(upstream))
    ready = next(document for document in documents if document["metadata"]["name"] == "pod-ready")
    held = {"key": f'.metadata.annotations["{HOLD}"]', "operator": "DoesNotExist"}
    ready["spec"]["selector"]["matchExpressions"].append(held)
    return yaml.safe_dump_all(documents)


def fake_node(name: str, labels: Mapping[str, str], capacity: Mapping[str, str]) -> Mapping[str, Any]:
    """A Node of `_CAPACITY`, but for what `capacity` says otherwise; a quantity of "" takes a resource away."""
    resources = {resource: amount for resource, amount in {**_CAPACITY, **capacity}.items() if amount}
    hostname = {"kubernetes.io/hostname": name, "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {**hostname, **NODE_LABELS, **labels}},
        "status": {"capacity": resources, "allocatable": resources},
    }
