"""A Kubernetes API for tests: apply, get, list, patch, delete, wait; objects are plain dictionaries.

Owns the connection and the kinds that tests speak of. Knows no cluster's programs, and of Pagelet only its one kind.
"""

import json
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
from kubernetes import config

from e2e.cluster.waiting import wait_for

Object = dict[str, Any]

_PATHS = {
    "Namespace": ("/api/v1", "namespaces"),
    "Node": ("/api/v1", "nodes"),
    "Pod": ("/api/v1", "pods"),
    "Service": ("/api/v1", "services"),
    "ServiceAccount": ("/api/v1", "serviceaccounts"),
    "ConfigMap": ("/api/v1", "configmaps"),
    "Secret": ("/api/v1", "secrets"),
    "Event": ("/apis/events.k8s.io/v1", "events"),
    "ResourceQuota": ("/api/v1", "resourcequotas"),
    "PersistentVolume": ("/api/v1", "persistentvolumes"),
    "PersistentVolumeClaim": ("/api/v1", "persistentvolumeclaims"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "ReplicaSet": ("/apis/apps/v1", "replicasets"),
    "Job": ("/apis/batch/v1", "jobs"),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
    "HorizontalPodAutoscaler": ("/apis/autoscaling/v2", "horizontalpodautoscalers"),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases"),
    "Role": ("/apis/rbac.authorization.k8s.io/v1", "roles"),
    "RoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "rolebindings"),
    "ClusterRole": ("/apis/rbac.authorization.k8s.io/v1", "clusterroles"),
    "ClusterRoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings"),
    "CustomResourceDefinition": ("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions"),
    "InferenceService": ("/apis/pagelet.io/v1alpha1", "inferenceservices"),
}
_CLUSTER_SCOPED = {
    *("Namespace", "Node", "PersistentVolume", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition")
}
_JSON = "application/json"
_MERGE = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"


class Refused(Exception):
    """The API server said no; the message is its own sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class Kube:
    """Requests carry a timeout, so that a stopped API server fails a test instead of holding it."""

    def __init__(self, kubeconfig: Path, timeout_s: float = 20) -> None:
        login = config.new_client_from_config(str(kubeconfig)).configuration
        trust = ssl.create_default_context(cafile=login.ssl_ca_cert)
        if login.cert_file:
            trust.load_cert_chain(login.cert_file, login.key_file)
        token = login.get_api_key_with_prefix("authorization") or login.get_api_key_with_prefix("BearerToken")
        headers = {"Accept": _JSON, **({"Authorization": token} if token else {})}
        self._http = httpx.Client(
            base_url=login.host, verify=trust, headers=headers, timeout=timeout_s, trust_env=False
        )

    def apply(self, obj: Mapping[str, Any], *, manager: str = "e2e", force: bool = True, strict: bool = True) -> Object:
        """Server-side apply. Raises Refused."""
        metadata = obj["metadata"]
        query = {
            "fieldManager": manager,
            "force": json.dumps(force),
            "fieldValidation": "Strict" if strict else "Ignore",
        }
        path = self._path(obj["kind"], metadata["name"], metadata.get("namespace", "default"))
        return self._call("PATCH", path, query, obj, _APPLY)

    def create(self, obj: Mapping[str, Any]) -> Object:
        """POST, all fields checked. Raises Refused."""
        path = self._path(obj["kind"], "", obj["metadata"].get("namespace", "default"))
        return self._call("POST", path, {"fieldValidation": "Strict"}, obj, _JSON)

    def get(self, kind: str, name: str, namespace: str = "default") -> Object | None:
        try:
            return self._call("GET", self._path(kind, name, namespace), {})
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    def list(self, kind: str, namespace: str | None = None, labels: str = "", fields: str = "") -> list[Object]:
        """All of a kind, of one namespace or of all; kind and apiVersion are filled in."""
        query = {"labelSelector": labels, "fieldSelector": fields}
        answer = self._call(
            "GET", self._path(kind, "", namespace), {key: value for key, value in query.items() if value}
        )
        version = {"kind": kind, "apiVersion": answer["apiVersion"]}
        return [{**version, **item} for item in answer["items"] or ()]

    def merge(self, kind: str, name: str, namespace: str, patch: Mapping[str, Any], subresource: str = "") -> Object:
        """A merge patch. Raises Refused."""
        return self._call("PATCH", self._path(kind, name, namespace, subresource), {}, patch, _MERGE)

    def delete(self, kind: str, name: str, namespace: str = "default", **options: Any) -> None:
        """Nothing happens where there is nothing."""
        try:
            self._call(
                "DELETE", self._path(kind, name, namespace), {}, {"propagationPolicy": "Background", **options}, _JSON
            )
        except Refused as refused:
            if refused.status != 404:
                raise

    def scale(self, name: str, namespace: str, replicas: int) -> None:
        """What `kubectl scale infsvc` does."""
        self.merge("InferenceService", name, namespace, {"spec": {"replicas": replicas}}, "scale")

    def wait(self, what: str, find: Callable[[], Any], timeout_s: float, account: Callable[[], str] = str) -> Any:
        """wait_for, but refusals and lost connections count as "not yet"."""

        def find_calmly() -> Any:
            try:
                return find()
            except (Refused, httpx.TransportError):
                return None

        return wait_for(what, find_calmly, timeout_s=timeout_s, account=account)

    def _path(self, kind: str, name: str, namespace: str | None, subresource: str = "") -> str:
        group, plural = _PATHS[kind]
        scope = [] if kind in _CLUSTER_SCOPED or namespace is None else ["namespaces", namespace]
        return "/".join([group, *scope, plural, *([name] if name else []), *([subresource] if subresource else [])])

    def _call(
        self, method: str, path: str, query: Mapping[str, str], body: Any = None, content_type: str = _JSON
    ) -> Object:
        content = None if body is None else json.dumps(body)
        answer = self._http.request(method, path, params=query, content=content, headers={"Content-Type": content_type})
        if answer.is_error:
            raise Refused(answer.status_code, _sentence(answer))
        return answer.json()


def _sentence(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError):
        return answer.text
