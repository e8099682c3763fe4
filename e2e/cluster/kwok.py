"""Nodes that are not there: kwok says that they are ready, and that every pod on them runs.

Owns how such nodes look and how their pods become ready. A pod that carries the annotation `HOLD` stays as it is, until
the annotation goes or a test writes the pod's status itself.
"""

from collections.abc import Mapping
from typing import Any

import yaml
from pagelet_api.model_report import ModelFacts, ModelReport
from pagelet_api.sizes import ModelShape

from .layout import BINARIES, Layout
from .node import GPU, GPU_LABELS
from .program import Program

HOLD = "e2e.pagelet.io/hold"
NODE_LABELS: Mapping[str, str] = {"type": "kwok", **GPU_LABELS}

_CAPACITY: Mapping[str, str] = {"cpu": "64", "memory": "512Gi", "pods": "110", "ephemeral-storage": "1Ti", GPU: "8"}

# What the model Job says of a small Llama: see pagelet_api.model_report.
_REPORT = ModelReport(
    facts=ModelFacts(
        digest=f"sha256:{'0' * 64}",
        folder="",
        num_bytes=270_000_000,
        shape=ModelShape(
            architecture="LlamaForCausalLM",
            hidden_size=576,
            num_layers=30,
            num_heads=9,
            num_kv_heads=3,
            head_dim=64,
            intermediate_size=1536,
            vocab_size=49152,
            max_position=8192,
            windows=(None,) * 30,
            tie_word_embeddings=True,
            checkpoint_dtype="bfloat16",
        ),
    )
)
_COMPLETED = "reason: Completed\n"
_INDENT = " " * 6
_MESSAGE = (
    '{{ if eq (printf "%v" (index $root.metadata.labels "pagelet.io/component")) "model" }}\n'
    f"{_INDENT}message: '{_REPORT.to_json()}'\n"
    "{{ end }}\n"
)


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
            "--node-lease-duration-seconds=40",  # without leases, nodes are lost after 50 s
            f"--server-address={layout.private_address}:10247",
        ],
    )


def stages(upstream: str) -> str:
    """kwok's own stages (YAML documents), with `HOLD` heeded where pods become ready, and model Jobs
    that report a model which is fine.
    """
    documents = list(yaml.safe_load_all(upstream))
    complete = next(document for document in documents if document["metadata"]["name"] == "pod-complete")
    template = complete["spec"]["next"]["statusTemplate"]
    assert template.count(_COMPLETED) == 1, "kwok words this stage otherwise now"
    complete["spec"]["next"]["statusTemplate"] = template.replace(_COMPLETED, _COMPLETED + _MESSAGE)
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
