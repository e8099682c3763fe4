"""kopf over a real socket, against a toy API server: it watches what it should, tells all of it, and writes nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import Configuration
from pagelet_api import names
from pagelet_operator.cluster.kinds import SERVICE, WATCHED, Kind
from pagelet_operator.handlers import Watching, connection, make_settings

DISCOVERY = [
    *WATCHED,
    Kind("v1", "Namespace", "namespaces"),
    Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions"),
]


def obj(kind: Kind, name: str, version: int) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "team", "uid": f"{kind.name}-{name}", "resourceVersion": str(version)}
    return {"metadata": {**metadata, "labels": {names.LABEL_SERVICE: name}}}


class ApiServer:
    """Discovery, one object in every list, and watches that a test writes into."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.watches: dict[str, asyncio.Queue[dict[str, Any] | None]] = {
            kind.plural: asyncio.Queue() for kind in WATCHED
        }

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path, query = request.path.rstrip("/"), dict(request.query)
        self.asked.append((request.method, path, query))
        resource = path.rpartition("/")[2]
        if path in ("/version", ""):
            return web.json_response({"major": "1", "minor": "34"})
        if path == "/api":
            return web.json_response({"versions": ["v1"]})
        if path == "/apis":
            return web.json_response({"groups": [_group(kind) for kind in DISCOVERY if kind.group]})
        if kinds := [kind for kind in DISCOVERY if kind.path(None).rpartition("/")[0] == path]:
            return web.json_response({"resources": [_resource(kind) for kind in kinds]})
        kind = next(kind for kind in DISCOVERY if kind.plural == resource)
        if query.get("watch") == "true":
            return await self._watch(request, kind)
        items = [obj(kind, "chat", 1)] if kind in WATCHED else []
        return web.json_response(
            {
                "kind": f"{kind.name}List",
                "apiVersion": kind.api_version,
                "metadata": {"resourceVersion": "9"},
                "items": items,
            }
        )

    async def _watch(self, request: web.Request, kind: Kind) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while (event := await self.watches[kind.plural].get()) is not None:
            await response.write(json.dumps(event).encode() + b"\n")
        return response

    async def tell(self, kind: Kind, type_: str, told: dict[str, Any]) -> None:
        told = {**told, "apiVersion": kind.api_version, "kind": kind.name}
        await self.watches[kind.plural].put({"type": type_, "object": told})


def _group(kind: Kind) -> dict[str, Any]:
    version = {"groupVersion": kind.api_version, "version": kind.version}
    return {"name": kind.group, "versions": [version], "preferredVersion": version}


def _resource(kind: Kind) -> dict[str, Any]:
    namespaced = kind.plural not in ("namespaces", "customresourcedefinitions")
    verbs = ["get", "list", "watch", "patch", "create", "delete"]
    return {"name": kind.plural, "singularName": "", "kind": kind.name, "namespaced": namespaced, "verbs": verbs}


@pytest.fixture
def server() -> ApiServer:
    return ApiServer()


@pytest.fixture
async def address(server: ApiServer) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    async with TestServer(app) as running:
        yield str(running.make_url("")).rstrip("/")


class Ear:
    """What the watches told, taken over into the test's loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.told: asyncio.Queue[tuple[str | None, str, str, str]] = asyncio.Queue()

    def __call__(self, type_: str | None, told: Any) -> None:
        metadata = told["metadata"]
        words = (type_, told["kind"], metadata["name"], metadata["resourceVersion"])
        self._loop.call_soon_threadsafe(self.told.put_nowait, words)

    async def hear(self, number: int) -> set[tuple[str | None, str, str, str]]:
        return {await asyncio.wait_for(self.told.get(), 30) for _ in range(number)}


@pytest.mark.timeout(90)
async def test_everything_is_listed_then_watched_with_our_label_and_nothing_is_written(
    server: ApiServer, address: str
) -> None:
    ear = Ear()

    async def log_in() -> Configuration:
        return Configuration(host=address)

    watching = Watching((), ear, log_in)
    watching.start()
    try:
        listed = await ear.hear(len(WATCHED))
        assert listed == {(None, kind.name, "chat", "1") for kind in WATCHED}
        for kind in WATCHED:
            await server.tell(kind, "MODIFIED", obj(kind, "chat", 12))
            await server.tell(kind, "DELETED", obj(kind, "chat", 13))
        told = await ear.hear(2 * len(WATCHED))
        assert told == {
            (type_, kind.name, "chat", version)
            for kind in WATCHED
            for type_, version in (("MODIFIED", "12"), ("DELETED", "13"))
        }
    finally:
        for watch in server.watches.values():
            await watch.put(None)
        await watching.stop()
    assert {method for method, _, _ in server.asked} == {"GET"}
    for kind in WATCHED:
        queries = [query for _, path, query in server.asked if path == kind.path(None)]
        assert {"watch" in query for query in queries} == {True, False}
        selector = "" if kind == SERVICE else names.LABEL_SERVICE
        assert all(query.get("labelSelector", "") == selector for query in queries)


async def test_the_login_is_the_clients() -> None:
    configuration = Configuration(host="https://here", ssl_ca_cert="/ca.crt")
    configuration.api_key["BearerToken"] = "bearer abc\n"
    info = await connection(configuration)
    assert (info.server, info.ca_path, info.insecure) == ("https://here", "/ca.crt", False)
    assert info.as_http_headers() == {"Authorization": "bearer abc"}
    by_certificate = Configuration(host="https://here")
    by_certificate.cert_file, by_certificate.key_file = "/c", "/k"
    info = await connection(by_certificate)
    assert (info.certificate_path, info.private_key_path, info.as_http_headers()) == ("/c", "/k", {})


def test_kopf_posts_nothing_and_looks_for_no_other_kinds() -> None:
    settings = make_settings()
    assert isinstance(settings, kopf.OperatorSettings)
    assert not settings.posting.enabled
    assert settings.scanning.disabled
    assert settings.watching.inactivity_timeout < 75, "servers keep events for 75 s"
