"""The cache is filled before anything is decided, and what a watch never told of is found out and mended."""

import asyncio
from typing import Any

import pytest
from pagelet_api import names
from pagelet_operator.cluster.kinds import SERVICE, WATCHED, Kind
from pagelet_operator.cluster.store import ServiceKey, Store
from pagelet_operator.cluster.sync import Sync
from pagelet_operator.metrics import Metrics

from .fake_cluster import Clock, FakeCluster

CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
KEY = ServiceKey("team", "chat")


class Scene:
    def __init__(self, *namespaces: str) -> None:
        self.cluster, self.store, self.clock = FakeCluster(), Store(), Clock(0)
        self.changed: list[ServiceKey] = []
        self.sync = Sync(self.cluster, self.store, namespaces, Metrics(), self.changed.append, self.clock)

    def user_makes_a_service(self, namespace: str = "team") -> dict[str, Any]:
        metadata = {"name": "chat", "namespace": namespace}
        return self.cluster.user_applies(
            {"apiVersion": "pagelet.io/v1alpha1", "kind": "InferenceService", "metadata": metadata, "spec": {}}
        )

    async def somebody_makes_a_child(self, name: str = "chat") -> dict[str, Any]:
        labels = {names.LABEL_SERVICE: "chat"}
        metadata = {"name": name, "namespace": "team", "labels": labels}
        return await self.cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {}})


async def test_it_is_complete_when_every_kind_has_been_listed() -> None:
    scene = Scene()
    scene.user_makes_a_service()
    await scene.somebody_makes_a_child()
    assert not scene.sync.complete
    await scene.sync.fill()
    assert scene.sync.complete
    assert scene.sync.ages_s() == {kind.name: 0 for kind in WATCHED}
    observed = scene.store.observed(KEY)
    assert observed is not None
    assert len(observed.children) == 1


async def test_only_the_listed_namespaces_are_listed() -> None:
    scene = Scene("team")
    scene.user_makes_a_service()
    scene.user_makes_a_service("other")
    await scene.sync.fill()
    assert scene.store.services() == [KEY]


async def test_a_change_that_no_watch_told_of_is_mended_and_the_watch_counts_as_silent() -> None:
    scene = Scene()
    scene.user_makes_a_service()
    await scene.sync.fill()
    await scene.somebody_makes_a_child()
    scene.changed.clear()
    scene.clock.now_s = 100
    await scene.sync.compare(CONFIG_MAP, grace_s=0)
    assert scene.changed == [KEY]
    assert scene.sync.ages_s()["ConfigMap"] == 100
    scene.clock.now_s = 160
    await scene.sync.compare(CONFIG_MAP, grace_s=0)
    assert scene.sync.ages_s()["ConfigMap"] == 0


async def test_what_was_deleted_while_no_watch_was_looking_is_forgotten() -> None:
    scene = Scene()
    scene.user_makes_a_service()
    child = await scene.somebody_makes_a_child()
    await scene.sync.fill()
    scene.cluster.remove(child)
    scene.changed.clear()
    await scene.sync.compare(CONFIG_MAP, grace_s=0)
    assert scene.changed == [KEY]
    observed = scene.store.observed(KEY)
    assert observed is not None
    assert not observed.children


async def test_what_was_deleted_before_a_watch_began_is_forgotten_when_it_begins() -> None:
    scene = Scene()
    scene.user_makes_a_service()
    deleted, kept = await scene.somebody_makes_a_child(), await scene.somebody_makes_a_child("other")
    await scene.sync.fill()
    scene.cluster.remove(deleted)
    scene.changed.clear()
    running = asyncio.create_task(scene.sync.run())
    scene.sync.see(None, kept)  # all that a watch says of it which lists what is there
    async with asyncio.timeout(10):
        while not scene.changed:
            await asyncio.sleep(0.01)
    running.cancel()
    observed = scene.store.observed(KEY)
    assert observed is not None
    assert [name.name for name in observed.children] == ["other"]
    assert scene.sync.ages_s()["ConfigMap"] == 0, "that is what watches do, and no fault of this one"


async def test_what_was_written_after_the_list_is_not_taken_for_deleted() -> None:
    scene = Scene()
    scene.user_makes_a_service()
    await scene.sync.fill()
    listed = await scene.cluster.list(CONFIG_MAP, None, selector=names.LABEL_SERVICE)
    scene.store.put(await scene.somebody_makes_a_child())

    class Behind(FakeCluster):
        async def list(self, kind: Kind, namespace: str | None, **_: Any) -> Any:
            return listed

    sync = Sync(Behind(), scene.store, (), Metrics(), scene.changed.append, scene.clock)
    await sync.compare(CONFIG_MAP, grace_s=0)
    observed = scene.store.observed(KEY)
    assert observed is not None
    assert observed.children


@pytest.mark.parametrize("event", [None, "ADDED", "MODIFIED"])
async def test_an_event_is_a_sign_of_life_and_tells_whose_it_is(event: str | None) -> None:
    scene = Scene()
    await scene.sync.fill()
    scene.clock.now_s = 50
    scene.sync.see(event, scene.user_makes_a_service())
    assert scene.changed == [KEY]
    assert scene.sync.ages_s()[SERVICE.name] == 0
    assert scene.sync.ages_s()["Pod"] == 50
    scene.sync.see("DELETED", scene.cluster.of_kind("InferenceService")[0])
    assert scene.store.observed(KEY) is None
