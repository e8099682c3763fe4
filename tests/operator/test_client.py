"""The client over a real socket: what it sends, and how it reads what a server says."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import Configuration
from pagelet_operator.cluster.api import ApiError, Conflict, NamespaceEnds, Refused, Unreachable
from pagelet_operator.cluster.client import ApiServer
from pagelet_operator.cluster.kinds import CHILDREN, NODE

CONFIG_MAP = CHILDREN[0]
OBJECT = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "team", "uid": "u"}}


ENDING = {"causes": [{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]}


class Server:
    """Answers every request with what the test set, and remembers the last."""

    def __init__(self) -> None:
        self.status, self.answer = 200, json.dumps(OBJECT)
        self.method, self.path, self.query, self.headers, self.body = "", "", {}, {}, ""

    async def handle(self, request: web.Request) -> web.Response:
        self.method, self.path, self.query = request.method, request.path, dict(request.query)
        self.headers, self.body = dict(request.headers), await request.text()
        return web.Response(status=self.status, text=self.answer, content_type="application/json")


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def api(server: Server) -> AsyncIterator[ApiServer]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    async with TestServer(app) as running:
        configuration = Configuration(host=str(running.make_url("")).rstrip("/"))
        configuration.api_key["BearerToken"] = "Bearer secret"
        client = ApiServer(configuration)
        yield client
        await client.close()


async def test_apply_forces_under_our_name(server: Server, api: ApiServer) -> None:
    await api.apply(OBJECT, dry_run=True)
    assert (server.method, server.path) == ("PATCH", "/api/v1/namespaces/team/configmaps/a")
    assert server.query == {"fieldManager": "pagelet-operator", "force": "true", "dryRun": "All"}
    assert server.headers["Content-Type"] == "application/apply-patch+yaml"
    assert json.loads(server.body) == OBJECT
    await api.apply(OBJECT)
    assert "dryRun" not in server.query


async def test_every_request_says_who_it_is(server: Server, api: ApiServer) -> None:
    await api.get(CONFIG_MAP, "team", "a")
    assert {name.lower(): value for name, value in server.headers.items()}["authorization"] == "Bearer secret"
    assert server.headers["User-Agent"].startswith("pagelet-operator/")


async def test_a_status_is_merged_against_the_version_that_was_read(server: Server, api: ApiServer) -> None:
    service = {
        "apiVersion": "pagelet.io/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": "a", "namespace": "team", "resourceVersion": "7"},
        "spec": {},
        "status": {"url": None},
    }
    await api.patch_status(service)
    assert server.path == "/apis/pagelet.io/v1alpha1/namespaces/team/inferenceservices/a/status"
    assert json.loads(server.body) == {"metadata": {"resourceVersion": "7"}, "status": {"url": None}}


async def test_a_list_names_the_kind_of_its_items(server: Server, api: ApiServer) -> None:
    item = {"metadata": {"name": "a"}}
    server.answer = json.dumps({"kind": "NodeList", "metadata": {"resourceVersion": "12"}, "items": [item]})
    items, version = await api.list(NODE, None, selector="x", fields="y=z")
    assert (server.path, server.query) == ("/api/v1/nodes", {"labelSelector": "x", "fieldSelector": "y=z"})
    assert (items, version) == ([{"apiVersion": "v1", "kind": "Node", **item}], 12)
    server.answer = json.dumps({"kind": "NodeList", "metadata": {"resourceVersion": "12"}, "items": None})
    assert await api.list(NODE, None, metadata_only=True) == ([], 12)


async def test_delete_names_the_very_object_and_takes_gone_for_done(server: Server, api: ApiServer) -> None:
    server.answer = json.dumps({"kind": "Status", "status": "Success"})
    assert await api.delete(CONFIG_MAP, "team", "a", "u") is None
    assert json.loads(server.body) == {"propagationPolicy": "Background", "preconditions": {"uid": "u"}}
    leaving = {**OBJECT, "metadata": {**OBJECT["metadata"], "deletionTimestamp": "now"}}
    server.answer = json.dumps(leaving)
    assert await api.delete(CONFIG_MAP, "team", "a", "u") == leaving
    for status in (404, 409):
        server.status, server.answer = status, json.dumps({"kind": "Status", "message": "gone"})
        assert await api.delete(CONFIG_MAP, "team", "a", "u") is None


@pytest.mark.parametrize(
    ("status", "answer", "error", "reason"),
    [
        (409, {"reason": "AlreadyExists", "message": "there"}, Conflict, "AlreadyExists"),
        (403, {"reason": "Forbidden", "message": "exceeded quota"}, Refused, "Forbidden"),
        (403, {"reason": "Forbidden", "message": "it ends", "details": ENDING}, NamespaceEnds, "Forbidden"),
        (422, {"reason": "Invalid", "message": "no such field", "details": None}, Refused, "Invalid"),
        (500, {"message": "failed to create typed patch object (a/b): .x: expected string"}, Refused, "Invalid"),
        (500, {"reason": "InternalError", "message": "etcdserver: request timed out"}, Unreachable, "InternalError"),
        (503, {"reason": "ServiceUnavailable", "message": "starting"}, Unreachable, "ServiceUnavailable"),
        (429, {"reason": "TooManyRequests", "message": "slower"}, Unreachable, "TooManyRequests"),
    ],
)
async def test_a_refusal_is_told_from_a_server_that_asks_for_patience(
    server: Server, api: ApiServer, status: int, answer: dict[str, Any], error: type[ApiError], reason: str
) -> None:
    server.status, server.answer = status, json.dumps({"kind": "Status", **answer})
    with pytest.raises(error, match=answer["message"][:10]) as raised:
        await api.apply(OBJECT)
    assert raised.value.reason == reason


async def test_what_is_not_there_is_none(server: Server, api: ApiServer) -> None:
    server.status, server.answer = 404, json.dumps({"kind": "Status", "reason": "NotFound", "message": "no"})
    assert await api.get(CONFIG_MAP, "team", "a") is None


async def test_a_server_that_is_away_or_talks_no_json_is_unreachable(server: Server, api: ApiServer) -> None:
    server.answer = "<html>"
    with pytest.raises(Unreachable, match="no JSON"):
        await api.get(CONFIG_MAP, "team", "a")
    nobody = ApiServer(Configuration(host="http://127.0.0.1:9"))
    with pytest.raises(Unreachable, match="GET /api/v1"):
        await nobody.get(CONFIG_MAP, "team", "a")
    await nobody.close()
