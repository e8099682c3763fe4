"""The cache shows the newest of what was said, in whatever order it was said, and nothing that is gone."""

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pagelet_api import names
from pagelet_operator.cluster.store import ServiceKey, Store, version_of
from pagelet_operator.observed import ObjectKey

KEY = ServiceKey("team", "chat")


def service(version: int, uid: str = "s-1", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "pagelet.io/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"namespace": "team", "name": "chat", "uid": uid, "resourceVersion": str(version), **metadata},
        "spec": {},
    }


def child(version: int, uid: str = "c-1", name: str = "chat", kind: str = "ConfigMap", **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {
            "namespace": "team",
            "name": name,
            "uid": uid,
            "resourceVersion": str(version),
            "labels": {names.LABEL_SERVICE: "chat"},
        },
        "data": data,
    }


@given(st.integers(0, 10_000))
def test_whatever_the_order_of_words_the_newest_counts(seed: int) -> None:
    chance = random.Random(seed)
    versions = [child(version, data=str(version)) for version in range(1, 8)]
    words = [*versions, *chance.sample(versions, 4)]
    chance.shuffle(words)
    store = Store()
    store.put(service(1))
    for word in words:
        store.put(word)
    observed = store.observed(KEY)
    assert observed is not None
    assert [version_of(obj) for obj in observed.children.values()] == [7]


@given(st.permutations(["old", "answer", "deleted", "late"]))
def test_an_object_that_is_gone_stays_gone_whatever_comes_late(order: list[str]) -> None:
    store = Store()
    store.put(service(1))
    for word in order:
        if word == "deleted":
            store.remove(child(9))
        else:
            store.put(child({"old": 5, "answer": 7, "late": 8}[word]))
    observed = store.observed(KEY)
    assert observed is not None
    assert not observed.children
    store.put(child(12, uid="c-2"))
    observed = store.observed(KEY)
    assert observed is not None
    assert observed.children, "another object of the same name is another object"


def test_the_end_of_a_predecessor_does_not_remove_its_successor() -> None:
    store = Store()
    store.put(service(1))
    store.put(child(12, uid="c-2"))
    assert store.remove(child(9, uid="c-1")) is None
    observed = store.observed(KEY)
    assert observed is not None
    assert ObjectKey("v1", "ConfigMap", "chat") in observed.children


def test_only_news_is_news() -> None:
    store = Store()
    assert store.put(service(1)) == KEY
    assert store.put(service(1)) is None
    assert store.put(child(2)) == KEY
    assert store.put(child(2)) is None
    assert store.remove(child(3)) == KEY
    assert store.remove(child(3)) is None


def test_objects_without_the_label_are_nobodys() -> None:
    store = Store()
    stranger = child(3)
    stranger["metadata"]["labels"] = {}
    assert store.put(stranger) is None


def test_a_service_is_observed_with_its_pods_and_children_and_no_managed_fields() -> None:
    store = Store()
    fields = [{"manager": "kubectl", "fieldsV1": {"f:spec": {"f:model": {}}}}]
    store.put(service(4, managedFields=fields))
    store.put(child(5))
    store.put(child(7, uid="p-2", name="b", kind="Pod"))
    store.put(child(6, uid="p-1", name="a", kind="Pod"))
    observed = store.observed(KEY)
    assert observed is not None
    assert "managedFields" not in observed.service["metadata"]
    assert [pod["metadata"]["name"] for pod in observed.pods] == ["a", "b"]
    assert list(observed.children) == [ObjectKey("v1", "ConfigMap", "chat")]
    assert not observed.replicas_owned
    fields = [*fields, {"manager": "hpa", "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]
    store.put(service(8, managedFields=fields))
    observed = store.observed(KEY)
    assert observed is not None
    assert observed.replicas_owned


def test_children_that_outlive_their_service_make_no_service() -> None:
    store = Store()
    store.put(service(1))
    store.put(child(2))
    store.remove(service(3))
    assert store.observed(KEY) is None
    assert store.services() == []
    store.remove(child(4))
    assert store.observed(KEY) is None
