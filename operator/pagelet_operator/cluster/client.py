"""`Api` over HTTP, by the asyncio client of `kubernetes`; and logging in, from inside a cluster or by a kubeconfig.

Objects stay plain JSON: the client's model classes would lose fields that are newer than they are. Owns timeouts, and
the reading of refusals.
"""

import json
import os
from collections.abc import Mapping
from http import HTTPStatus
from importlib.metadata import version
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from pagelet_operator.cluster.api import FIELD_MANAGER, ApiError, Conflict, NamespaceEnds, Refused, Unreachable
from pagelet_operator.cluster.kinds import Kind, kind_of
from pagelet_operator.observed import KubernetesObject

USER_AGENT = f"pagelet-operator/{version('pagelet')}"
_TIMEOUT_S = 30.0
_JSON = "application/json"
_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_APPLY = "application/apply-patch+yaml"  # JSON is YAML
# A field of a wrong type, or one that does not exist: the server calls it an internal error, and it is none.
_NOT_TYPED = "failed to create typed patch object"
# https://pkg.go.dev/k8s.io/api/core/v1#NamespaceTerminatingCause
_NAMESPACE_ENDS = "NamespaceTerminating"
_LATER = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT)
_MERGE = "application/merge-patch+json"


async def login() -> Configuration:
    """The service account of this pod, or the kubeconfig. Raises config.ConfigException."""
    configuration = Configuration()
    if os.environ.get("KUBERNETES_SERVICE_HOST") and not os.environ.get("KUBECONFIG"):
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    else:
        await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    return configuration


async def connect() -> "ApiServer":
    """Raises config.ConfigException where there is nothing to log in with."""
    return ApiServer(await login())


class ApiServer:
    """An Api. A service account's token is read anew every minute."""

    def __init__(self, configuration: Configuration) -> None:
        configuration.connection_pool_maxsize = 32
        self._client = ApiClient(configuration)

    async def close(self) -> None:
        await self._client.close()  # type: ignore[no-untyped-call]

    async def get(self, kind: Kind, namespace: str, name: str) -> KubernetesObject | None:
        try:
            return await self._call("GET", kind.path(namespace, name))
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    async def list(
        self, kind: Kind, namespace: str | None, *, selector: str = "", fields: str = "", metadata_only: bool = False
    ) -> tuple[list[KubernetesObject], int]:
        query = {"labelSelector": selector, "fieldSelector": fields}
        answer = await self._call("GET", kind.path(namespace), query, accept=_METADATA if metadata_only else _JSON)
        # Lists leave these out of their items; a list of metadata has its own there.
        known = {"apiVersion": kind.api_version, "kind": kind.name}
        items = answer["items"] or ()  # an empty list of metadata is null
        return [{**item, **known} for item in items], int(answer["metadata"]["resourceVersion"])

    async def apply(self, obj: KubernetesObject, *, dry_run: bool = False) -> KubernetesObject:
        query = {"fieldManager": FIELD_MANAGER, "force": "true", "dryRun": "All" if dry_run else ""}
        return await self._call("PATCH", _path(obj), query, obj, _APPLY)

    async def create(self, obj: KubernetesObject) -> KubernetesObject:
        kind = kind_of(obj["apiVersion"], obj["kind"])
        path = kind.path(obj["metadata"]["namespace"])
        return await self._call("POST", path, {"fieldManager": FIELD_MANAGER}, obj, _JSON)

    async def replace(self, obj: KubernetesObject) -> KubernetesObject:
        return await self._call("PUT", _path(obj), {"fieldManager": FIELD_MANAGER}, obj, _JSON)

    async def patch_status(self, obj: KubernetesObject) -> KubernetesObject:
        metadata = {"resourceVersion": obj["metadata"]["resourceVersion"]}
        body = {"metadata": metadata, "status": obj["status"]}
        return await self._call("PATCH", _path(obj, "status"), {"fieldManager": FIELD_MANAGER}, body, _MERGE)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> KubernetesObject | None:
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            answer = await self._call("DELETE", kind.path(namespace, name), {}, body, _JSON)
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND or isinstance(error, Conflict):
                return None  # gone, or another object by now
            raise
        return answer if answer.get("kind") == kind.name and answer["metadata"].get("deletionTimestamp") else None

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "",
        accept: str = _JSON,
    ) -> dict[str, Any]:
        headers = {"Accept": accept, "User-Agent": USER_AGENT, **({"Content-Type": content_type} if body else {})}
        asked = urlencode({name: value for name, value in (query or {}).items() if value})
        url = f"{self._client.configuration.host}{quote(path)}{'?' if asked else ''}{asked}"
        # The client decides by configuration which header carries the credentials, and reads a token that rotates.
        await self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        try:
            answer = await self._client.call_api(method, url, headers, body=body, _request_timeout=_TIMEOUT_S)
            text = await answer.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(0, "Unreachable", f"{method} {path}: {type(error).__name__}: {error}") from error
        return _read(answer.status, text, f"{method} {path}")


def _read(status: int, text: bytes, what: str) -> dict[str, Any]:
    """The answer's JSON. Raises ApiError for a refusal."""
    try:
        answer: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise Unreachable(status, "Unreadable", f"{what}: status {status}, and no JSON: {text[:200]!r}") from error
    if status < HTTPStatus.BAD_REQUEST:
        return answer
    reason = answer.get("reason") or HTTPStatus(status).phrase.replace(" ", "")
    message = answer.get("message") or f"{what}: status {status}"
    if status == HTTPStatus.CONFLICT:
        raise Conflict(status, reason, message)
    causes = (answer.get("details") or {}).get("causes") or ()
    if any(cause.get("reason") == _NAMESPACE_ENDS for cause in causes):
        raise NamespaceEnds(status, reason, message)
    if message.startswith(_NOT_TYPED):
        raise Refused(status, "Invalid", message)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _LATER:
        raise Unreachable(status, reason, message)
    raise Refused(status, reason, message)


def _path(obj: KubernetesObject, subresource: str = "") -> str:
    kind, metadata = kind_of(obj["apiVersion"], obj["kind"]), obj["metadata"]
    return kind.path(metadata["namespace"], metadata["name"], subresource)
