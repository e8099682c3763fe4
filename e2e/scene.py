"""One namespace as a scenario sees it: its InferenceServices, their children, and what their status says."""

import json
from collections.abc import Mapping
from typing import Any

from e2e.kube import Kube, Object
from e2e.manifests import account, condition, inference_service

RECONCILED_S = 60


class Scene:
    """One namespace seen by a test: its InferenceServices, and what became of them."""

    def __init__(self, kube: Kube, namespace: str, engine: Mapping[str, Any]) -> None:
        """`engine`: fields of every spec here, where a test gives no others."""
        self.kube = kube
        self.namespace = namespace
        self._engine = engine

    def apply(self, name: str = "chat", **spec: Any) -> Object:
        """Apply an InferenceService as one author, who owns all that the file says."""
        return self.kube.apply(inference_service(name, self.namespace, **{**self._engine, **spec}), manager="author")

    def service(self, name: str = "chat") -> Object | None:
        return self.kube.get("InferenceService", name, self.namespace)

    def account(self, name: str = "chat") -> str:
        pods = [
            f"  pod {pod['metadata']['name']} {pod['status'].get('phase')}"
            for pod in self.kube.list("Pod", self.namespace)
        ]
        return "\n".join([account(self.service(name)), *pods])

    def wait_condition(
        self, type_: str, status: str = "True", reason: str = "", name: str = "chat", timeout_s: float = RECONCILED_S
    ) -> Object:
        """Until the current generation's condition is so; the condition."""

        def find() -> Object | None:
            found = condition(self.service(name), type_)
            fits = found and found["status"] == status and reason in ("", found["reason"])
            return dict(found) if fits else None

        what = f"{name}: {type_}={status} {reason}"
        return self.kube.wait(what, find, timeout_s, lambda: self.account(name))

    def wait_settled(self, name: str = "chat", timeout_s: float = RECONCILED_S) -> Object:
        """Until all is as wanted: serving, nothing in progress. The InferenceService."""
        self.wait_condition("Available", "True", "", name, timeout_s)
        self.wait_condition("Progressing", "False", "", name, timeout_s)
        return self.service(name) or {}

    def children(self, kind: str, name: str = "chat") -> list[Object]:
        return self.kube.list(kind, self.namespace, labels=f"pagelet.io/inference-service={name}")

    def engines(self, name: str = "chat") -> list[Object]:
        labels = f"pagelet.io/inference-service={name},pagelet.io/component=engine"
        return self.kube.list("Pod", self.namespace, labels=labels)

    def engine_uids(self, name: str = "chat") -> set[str]:
        """Of engine pods that are not on their way out."""
        return {pod["metadata"]["uid"] for pod in self.engines(name) if "deletionTimestamp" not in pod["metadata"]}

    def revision(self, name: str = "chat") -> str:
        return str((self.service(name) or {}).get("status", {}).get("currentRevision", ""))


def spec_of(obj: Object) -> str:
    """Everything of an object that a person or an operator decides; for comparing before and after."""
    kept = {key: value for key, value in obj.items() if key not in ("metadata", "status")}
    metadata = {key: obj["metadata"].get(key) for key in ("name", "labels", "annotations", "ownerReferences")}
    return json.dumps([metadata, kept], sort_keys=True)
