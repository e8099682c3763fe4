"""InferenceServices for scenarios, as a user would write them, and what to ask of those that exist."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

Object = dict[str, Any]

GPU = "nvidia.com/gpu"

GPU_ENGINE: Mapping[str, Any] = {
    "model": {"source": {"pvc": {"claimName": "models"}}},
    "resources": {"limits": {"cpu": "1", "memory": "6Gi", GPU: 1}},
    "gateway": {"replicas": 1},
}
"""One GPU a pod, the model on the claim `models`."""


def inference_service(name: str, namespace: str, **spec: Any) -> Object:
    return {
        "apiVersion": "pagelet.io/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def model_claim(namespace: str, folder: Path) -> tuple[Object, Object]:
    """A folder of the node, as the claim `models` in the namespace."""
    capacity = {"storage": "1Gi"}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"models-{namespace}"},
        "spec": {
            "capacity": capacity,
            "accessModes": ["ReadOnlyMany"],
            "storageClassName": "",
            "hostPath": {"path": str(folder)},
            "claimRef": {"namespace": namespace, "name": "models"},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "models", "namespace": namespace},
        "spec": {
            "accessModes": ["ReadOnlyMany"],
            "storageClassName": "",
            "volumeName": volume["metadata"]["name"],
            "resources": {"requests": capacity},
        },
    }
    return volume, claim


def condition(service: Mapping[str, Any] | None, type_: str) -> Mapping[str, Any]:
    """A condition of this generation's status; empty while there is none."""
    status = (service or {}).get("status", {})
    if service is None or status.get("observedGeneration") != service["metadata"]["generation"]:
        return {}
    return next((found for found in status.get("conditions", ()) if found["type"] == type_), {})


def account(service: Mapping[str, Any] | None) -> str:
    """What the status says, a line a condition, for the message of a test that waited in vain."""
    status = (service or {}).get("status", {})
    lines = [f"  {c['type']}={c['status']} {c['reason']}: {c.get('message', '')}" for c in status.get("conditions", ())]
    return "\n".join([f"  {status.get('ready')} of generation {status.get('observedGeneration')}", *lines])
