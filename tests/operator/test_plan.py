"""Plans: they converge from any state, rest when all is well, and touch nothing that is another's."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pagelet_api.quantities import parse_quantity
from pagelet_api.v1alpha1 import InferenceService, load_inference_service
from pagelet_operator.desired import Facts, desired_children, new_revision
from pagelet_operator.model_state import JobWish, ModelState
from pagelet_operator.observed import ObjectKey, Observed
from pagelet_operator.plan import APPLIED_HASH_ANNOTATION, RENDERED_KINDS, Plan, applied_hash, make_plan

from .conftest import MODEL_FACTS, document, services

UID = "0f-1"
SERVICE = {
    "apiVersion": "pagelet.io/v1alpha1",
    "kind": "InferenceService",
    "metadata": {"name": "smol", "namespace": "team", "uid": UID},
}
LABELS = {"app.kubernetes.io/managed-by": "pagelet-operator", "pagelet.io/inference-service": "smol"}
Child = dict[str, Any]


def owner(uid: str = UID) -> Child:
    return {"kind": "InferenceService", "name": "smol", "uid": uid, "controller": True}


def child(kind: tuple[str, str], name: str, owners: list[Child] | None = None, **fields: Any) -> Child:
    owners = [owner()] if owners is None else owners
    references = {"ownerReferences": owners} if owners else {}
    metadata = {"name": name, "namespace": "team", "labels": dict(LABELS), **references}
    return {"apiVersion": kind[0], "kind": kind[1], "metadata": metadata, **copy.deepcopy(fields)}


def config_map(name: str = "a", **fields: Any) -> Child:
    return child(("v1", "ConfigMap"), name, **fields)


def service(name: str = "smol", **spec: Any) -> Child:
    return child(("v1", "Service"), name, spec=spec)


def observed(*children: Child) -> Observed:
    return Observed(SERVICE, {ObjectKey.of(obj): obj for obj in children})


def after(plan: Plan, before: Observed) -> Observed:
    """What there is once the plan is written: maps and keyed lists merge, other lists are replaced."""
    children = {key: obj for key, obj in before.children.items() if key not in plan.delete}
    for obj in plan.apply:
        key = ObjectKey.of(obj)
        children[key] = merged(children.get(key, {}), obj)
    return Observed(before.service, children)


def merged(live: Any, applied: Any) -> Any:
    if isinstance(live, dict) and isinstance(applied, dict):
        return live | {name: merged(live.get(name), value) for name, value in applied.items()}
    if isinstance(live, list) and isinstance(applied, list):
        for key in ("name", "uid"):
            if applied and all(isinstance(entry, dict) and key in entry for entry in applied):
                entries = {entry.get(key): entry for entry in live if isinstance(entry, dict)}
                ours = {entry[key]: merged(entries.get(entry[key], {}), entry) for entry in applied}
                return list((entries | ours).values())
    return copy.deepcopy(applied)


def test_what_is_missing_is_applied_in_the_order_of_the_rendering_and_said_to_be_missing() -> None:
    wanted = [config_map("b"), config_map("a"), service()]
    plan = make_plan(wanted, observed())
    assert [obj["metadata"]["name"] for obj in plan.apply] == ["b", "a", "smol"]
    assert plan.missing == tuple(map(ObjectKey.of, wanted))
    assert (plan.delete, plan.conflicts) == ((), ())
    assert all(obj["metadata"]["annotations"][APPLIED_HASH_ANNOTATION] for obj in plan.apply)


def test_a_leaf_that_somebody_edited_is_applied_again() -> None:
    wanted = service(selector={"app": "a"}, ports=[{"port": 80}])
    live = make_plan([wanted], observed()).apply[0]
    live = {**live, "spec": {"selector": {"app": "b"}, "ports": [{"port": 80, "protocol": "TCP"}]}}
    plan = make_plan([wanted], observed(live))
    assert len(plan.apply) == 1
    assert plan.missing == ()


def test_a_wall_that_somebody_opened_is_closed_again() -> None:
    service = load_inference_service(document())
    children = [obj for obj in desired_children(service, [], Facts("e", "g")) if obj["kind"] == "NetworkPolicy"]
    live = [as_stored(obj) for obj in make_plan(children, observed()).apply]
    assert make_plan(children, observed(*live)).is_empty
    (wall,) = (obj for obj in live if obj["metadata"]["name"] == "smol-deny")
    wall["spec"]["ingress"] = [{}]
    assert [obj["metadata"]["name"] for obj in make_plan(children, observed(*live)).apply] == ["smol-deny"]


def test_a_field_that_is_rendered_no_longer_is_given_up_with_one_write() -> None:
    before = make_plan([service(selector={"app": "a"}, type="ClusterIP")], observed()).apply[0]
    wanted = service(selector={"app": "a"})
    plan = make_plan([wanted], observed(before))
    assert [obj["metadata"]["annotations"][APPLIED_HASH_ANNOTATION] for obj in plan.apply] == [applied_hash(wanted)]


def test_what_nobody_wants_is_deleted_pods_first_unless_it_is_kept() -> None:
    children = [child(kind, name) for kind in RENDERED_KINDS for name in "ba"]
    plan = make_plan([], observed(*children), keep={ObjectKey("apps/v1", "ReplicaSet", "a")})
    kinds = [kind for _, kind in RENDERED_KINDS if kind != "PersistentVolumeClaim"]
    expected = [f"{kind}/{name}" for kind in kinds for name in "ab"]
    expected.remove("ReplicaSet/a")
    assert list(map(str, plan.delete)) == expected


@pytest.mark.parametrize(
    "foreign",
    [
        config_map(owners=[owner("another")]),
        config_map(owners=[]),
        config_map() | {"metadata": {**config_map()["metadata"], "labels": {}}},
        config_map() | {"metadata": {**config_map()["metadata"], "deletionTimestamp": "2026-11-23T10:00:00Z"}},
        child(("v1", "Secret"), "a"),
        child(("v1", "PersistentVolumeClaim"), "a"),
    ],
)
def test_what_is_not_ours_or_holds_data_is_never_deleted(foreign: Child) -> None:
    assert make_plan([], observed(foreign)).is_empty


def test_an_object_of_another_owner_is_a_conflict_with_both_names() -> None:
    plan = make_plan([config_map()], observed(config_map(owners=[{**owner("9"), "name": "a-engine"}])))
    assert plan.is_empty
    assert plan.conflicts == (
        "ConfigMap/a: exists already and is controlled by InferenceService/a-engine (uid 9); "
        "delete or rename it, or rename this service",
    )
    (sentence,) = make_plan([config_map()], observed(config_map(owners=[]))).conflicts
    assert "not one that this operator made" in sentence


def test_a_claim_that_outlived_its_service_is_taken_up_again() -> None:
    claim = child(("v1", "PersistentVolumeClaim"), "smol-model", [], spec={"accessModes": ["ReadWriteMany"]})
    (live,) = make_plan([claim], observed()).apply
    assert make_plan([claim], observed(live)) == Plan()
    owned = child(("v1", "PersistentVolumeClaim"), "smol-model", spec={"accessModes": ["ReadWriteMany"]})
    assert len(make_plan([owned], observed(live)).apply) == 1


def test_an_immutable_config_map_and_a_job_are_deleted_and_made_anew() -> None:
    job = {"template": {"spec": {"containers": [{"name": "fetch", "image": "new"}]}}}
    wanted = [
        config_map("a", immutable=True, data={"k": "new"}),
        config_map("b", data={"k": "new"}),
        child(("batch/v1", "Job"), "j", spec=job),
    ]
    job_before = {"template": {"spec": {"containers": [{"name": "fetch", "image": "old"}]}}}
    before = observed(
        config_map("a", immutable=True, data={"k": "old"}),
        config_map("b", data={"k": "old"}),
        child(("batch/v1", "Job"), "j", spec=job_before),
    )
    first = make_plan(wanted, before)
    assert list(map(str, first.delete)) == ["Job/j", "ConfigMap/a"]
    assert [obj["metadata"]["name"] for obj in first.apply] == ["b"]
    second = make_plan(wanted, after(first, before))
    assert [obj["metadata"]["name"] for obj in second.apply] == ["a", "j"]


def test_what_cannot_be_changed_and_not_be_made_anew_is_said_and_left() -> None:
    plan = make_plan([service(clusterIP="None")], observed(service(clusterIP="10.96.0.9")))
    assert plan.is_empty
    assert plan.conflicts == (
        "Service/smol: spec.clusterIP: wanted 'None', found '10.96.0.9', which cannot be changed; delete it, and it is "
        "made anew",
    )


def test_a_claim_may_grow_and_never_shrinks() -> None:
    def claim(size: str) -> Child:
        spec = {"resources": {"requests": {"storage": size}}}
        return child(("v1", "PersistentVolumeClaim"), "smol-model", spec=spec)

    assert len(make_plan([claim("2Gi")], observed(claim("1024Mi"))).apply) == 1
    plan = make_plan([claim("1Gi")], observed(claim("2Gi")))
    assert (plan.is_empty, len(plan.conflicts)) == (True, 1)


@pytest.mark.parametrize("owners", [[owner()], [owner("a service of this name that was deleted")]])
def test_an_object_that_is_leaving_is_waited_for(owners: list[Child]) -> None:
    live = config_map(owners=owners, data={"k": "old"})
    live["metadata"]["deletionTimestamp"] = "2026-11-23T10:00:00Z"
    assert make_plan([config_map(data={"k": "new"})], observed(live)) == Plan()


# ---- whatever is wanted, whatever is there -----------------------------------------------------------------------

texts = st.sampled_from(["a", "b", "1", ""])
leaves = st.one_of(texts, st.integers(0, 2), st.booleans(), st.none())
names = st.sampled_from("ab")
entries = st.lists(st.fixed_dictionaries({"name": names, "value": leaves}), max_size=3, unique_by=lambda e: e["name"])
specs = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.integers(0, 3),
        "type": texts,
        "args": st.lists(texts, max_size=3),
        "template": st.dictionaries(st.sampled_from(["x", "y"]), leaves),
        "containers": st.lists(
            st.fixed_dictionaries({"name": names, "env": entries, "args": st.lists(texts, max_size=2)}),
            max_size=2,
            unique_by=lambda e: e["name"],
        ),
    },
)
kinds = st.sampled_from(RENDERED_KINDS)
owners = st.sampled_from([[owner()], [owner()], [owner("another")], []])


@st.composite
def children(draw: st.DrawFn, owned_by: st.SearchStrategy[list[Child]]) -> list[Child]:
    keys = draw(st.lists(st.tuples(kinds, st.sampled_from("ab")), max_size=6, unique=True))
    return [child(kind, name, draw(owned_by), spec=draw(specs)) for kind, name in keys]


def with_defaults(data: st.DataObject, value: Any) -> Any:
    """The object as the API server would show it: fields that nobody rendered in any map, and empty ones left out."""
    if isinstance(value, dict):
        kept = {
            name: with_defaults(data, item)
            for name, item in value.items()
            if not (item in ("", [], {}, None) and data.draw(st.booleans()))
        }
        return kept | ({"defaulted": "x"} if data.draw(st.booleans()) else {})
    return [with_defaults(data, item) for item in value] if isinstance(value, list) else value


@given(children(st.just([owner()])), children(owners), st.data())
def test_one_plan_converges_whatever_the_api_server_adds(
    wanted: list[Child], there: list[Child], data: st.DataObject
) -> None:
    before = observed(*there)
    plan = make_plan(wanted, before)
    there_now = after(plan, before).children
    shown = {key: with_defaults(data, obj) | {"metadata": obj["metadata"]} for key, obj in there_now.items()}
    rest = make_plan(wanted, Observed(SERVICE, shown))
    # A Job that had to be deleted is made by the second plan; everything else is at rest after the first.
    assert {ObjectKey.of(obj) for obj in rest.apply} <= set(plan.delete)
    assert rest.delete == ()
    assert rest.conflicts == plan.conflicts


@given(children(st.just([owner()])), children(owners))
def test_no_plan_touches_what_is_not_ours(wanted: list[Child], there: list[Child]) -> None:
    before = observed(*there)
    plan = make_plan(wanted, before)
    for key in (*plan.delete, *map(ObjectKey.of, plan.apply)):
        live = before.children.get(key)
        assert live is None or live["metadata"]["ownerReferences"][0]["uid"] == UID
    assert not {key for key in plan.delete if key.kind == "PersistentVolumeClaim"}
    assert len(plan.apply) + len(plan.conflicts) + len(plan.delete) <= len(wanted) + len(there)


@given(children(st.just([owner()])), children(owners), st.randoms())
def test_the_same_input_gives_the_same_bytes(wanted: list[Child], there: list[Child], random: Any) -> None:
    first = make_plan(wanted, observed(*there))
    untouched = json.dumps([wanted, there])
    random.shuffle(there)
    second = make_plan(wanted, observed(*there))
    assert json.dumps([first.apply, first.delete, first.conflicts]) == json.dumps(
        [second.apply, second.delete, second.conflicts]
    )
    assert json.loads(untouched)[0] == wanted


# ---- what is really rendered -------------------------------------------------------------------------------------


PRESENT = ("emptyDir", "podSelector", "namespaceSelector")  # empty, they still say something


def as_stored(value: Any, path: tuple[str, ...] = ()) -> Any:
    """As the API server stores it: quantities in another spelling, defaults filled in, what is empty left out."""
    if path[-2:-1] in (("limits",), ("requests",)) or path[-1:] == ("sizeLimit",):
        return f"{int(parse_quantity(str(value)) * 1000)}m"
    if isinstance(value, dict):
        kept = {name: as_stored(item, (*path, name)) for name, item in value.items()}
        kept = {name: item for name, item in kept.items() if name in PRESENT or item not in ({}, [])}
        if kept.get("publishNotReadyAddresses") is False:
            del kept["publishNotReadyAddresses"]
        if "containerPort" in kept or "port" in kept:
            kept.setdefault("protocol", "TCP")
        if "image" in kept:
            kept |= {"imagePullPolicy": "IfNotPresent", "terminationMessagePath": "/dev/termination-log"}
        return kept
    return [as_stored(item, path) for item in value] if isinstance(value, list | tuple) else value


@given(services(), st.sampled_from([ModelState(), ModelState(job=JobWish.MAKE), ModelState(facts=MODEL_FACTS)]))
def test_what_is_rendered_for_any_service_rests_after_one_plan(service: InferenceService, model: ModelState) -> None:
    owned = service.model_copy(update={"metadata": service.metadata.model_copy(update={"uid": UID})})
    facts = Facts("engine", "gateway", model_image="operator", model=MODEL_FACTS)
    children = desired_children(owned, [new_revision(owned, facts, 2)], facts, model=model)
    there = {"metadata": {"name": owned.metadata.name, "uid": UID}}
    plan = make_plan(children, Observed(there))
    assert len(plan.apply) == len(children)
    stored = {ObjectKey.of(obj): as_stored(obj) for obj in plan.apply}
    assert make_plan(children, Observed(there, stored)) == Plan()
    emptied = make_plan([], Observed(there, stored))
    left = stored.keys() - set(emptied.delete)
    assert {key.kind for key in left} <= {"PersistentVolumeClaim"}
