"""What counts as a difference between a rendering and what lives, and what is one value in two spellings."""

from typing import Any

import pytest
from pagelet_operator.difference import differences


def found(rendered: dict[str, Any], live: dict[str, Any]) -> list[str]:
    return [str(difference) for difference in differences(rendered, live)]


def in_container(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "engine", **fields}]}}


@pytest.mark.parametrize(
    ("rendered", "live"),
    [
        ({"resources": {"limits": {"cpu": "1"}}}, {"resources": {"limits": {"cpu": 1}}}),
        ({"resources": {"limits": {"cpu": "1000m"}}}, {"resources": {"limits": {"cpu": "1"}}}),
        ({"resources": {"requests": {"memory": "4Gi"}}}, {"resources": {"requests": {"memory": "4096Mi"}}}),
        ({"emptyDir": {"sizeLimit": "1024Ki"}}, {"emptyDir": {"sizeLimit": "1Mi"}}),
    ],
)
def test_quantities_are_compared_by_value(rendered: dict[str, Any], live: dict[str, Any]) -> None:
    assert found(rendered, live) == []


def test_text_that_looks_like_a_quantity_is_compared_as_text() -> None:
    assert found({"data": {"sizeLimit": "4Gi"}}, {"data": {"sizeLimit": "4096Mi"}})
    assert found({"metadata": {"labels": {"cpu": "1"}}}, {"metadata": {"labels": {"cpu": "1000m"}}})


def test_a_quantity_that_is_none_is_a_difference_and_no_error() -> None:
    assert found({"resources": {"limits": {"cpu": "1"}}}, {"resources": {"limits": {"cpu": "much"}}}) == [
        "resources.limits.cpu: wanted '1', found 'much'"
    ]


def test_fields_that_are_not_rendered_are_nobodys_business() -> None:
    live = in_container(image="a", terminationMessagePath="/dev/termination-log", env=[{"name": "X", "value": "1"}])
    assert found(in_container(image="a", env=[]), live | {"status": {"replicas": 1}}) == []


def test_entries_of_keyed_lists_are_matched_by_their_keys_in_any_order() -> None:
    rendered = in_container(
        env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        ports=[{"containerPort": 9000, "name": "grpc"}],
        volumeMounts=[{"name": "model", "mountPath": "/mnt/model"}],
    )
    live = in_container(
        env=[{"name": "Z", "value": "0"}, {"name": "B", "value": "2"}, {"name": "A", "value": "1"}],
        ports=[{"containerPort": 9000, "protocol": "UDP"}, {"containerPort": 9000, "name": "grpc", "protocol": "TCP"}],
        volumeMounts=[{"name": "other", "mountPath": "/other"}, {"name": "model", "mountPath": "/mnt/model"}],
    )
    assert found(rendered, live) == []


def test_an_entry_that_is_gone_or_changed_is_named_by_its_key() -> None:
    rendered = in_container(env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}])
    live = in_container(env=[{"name": "A", "value": "3"}])
    assert found(rendered, live) == [
        "spec.containers.[engine].env.[A].value: wanted '1', found '3'",
        "spec.containers.[engine].env.[B]: wanted {'name': 'B', 'value': '2'}, found None",
    ]


@pytest.mark.parametrize("live", [["a"], ["b", "a"], ["a", "b", "c"], None])
def test_atomic_lists_are_one_value(live: list[str] | None) -> None:
    assert found({"spec": {"args": ["a", "b"]}}, {"spec": {"args": live}})


def test_what_is_added_to_a_wall_is_a_difference_and_what_is_defaulted_is_none() -> None:
    wall = {"spec": {"ingress": [{"ports": [{"port": 9000}]}], "egress": []}}
    assert found(wall, {"spec": {"ingress": [{"ports": [{"port": 9000, "protocol": "TCP"}]}]}}) == []
    assert found(wall, {"spec": {"ingress": [{"ports": [{"port": 9000}, {"port": 22}]}]}})
    assert found(wall, {"spec": {"ingress": [{"ports": [{"port": 9000}]}, {}]}})
    assert found(wall, {"spec": {"ingress": [{"ports": [{"port": 9000}]}], "egress": [{}]}})


@pytest.mark.parametrize("empty", [{}, [], None, "", 0, False])
def test_an_empty_value_is_the_same_as_none(empty: Any) -> None:
    assert found({"spec": {"field": empty}}, {"spec": {}}) == []
    assert found({"spec": {"field": empty}}, {}) == []
    assert found({"spec": {"field": empty}}, {"spec": None}) == []


@pytest.mark.parametrize(
    "rendered",
    [
        {"spec": {"replicas": 0}},
        {"spec": {"automountServiceAccountToken": False}},
        {"volumes": [{"name": "scratch", "emptyDir": {}}]},
        {"securityContext": {"allowPrivilegeEscalation": False}},
        {"data": {"key": ""}},
        {"metadata": {"annotations": {"key": ""}}},
    ],
)
def test_an_empty_value_that_says_something_is_missed(rendered: dict[str, Any]) -> None:
    assert found(rendered, {}) != []
    assert found(rendered, {"volumes": [{"name": "scratch", "hostPath": {"path": "/"}}], "data": {}}) != []


def test_ports_may_be_numbers_or_their_text_and_flags_are_no_numbers() -> None:
    assert found({"port": 80, "targetPort": "9000"}, {"port": "80", "targetPort": 9000}) == []
    assert found({"flag": True}, {"flag": 1}) == ["flag: wanted True, found 1"]
    assert found({"number": 1}, {"number": "1"}) == ["number: wanted 1, found '1'"]


def test_a_value_of_another_type_is_a_difference() -> None:
    assert found({"spec": {"a": 1}}, {"spec": []}) == ["spec: wanted {'a': 1}, found []"]
    assert found({"spec": ["a"]}, {"spec": {"a": 1}}) == ["spec: wanted ['a'], found {'a': 1}"]


def test_finalizers_and_owners_of_others_are_left_alone() -> None:
    rendered = {"finalizers": ["ours"], "ownerReferences": [{"uid": "1", "controller": True}]}
    live = {"finalizers": ["x", "ours"], "ownerReferences": [{"uid": "2"}, {"uid": "1", "controller": True, "a": 1}]}
    assert found(rendered, live) == []
    assert len(found(rendered, {"finalizers": ["x"], "ownerReferences": [{"uid": "2"}]})) == 2
