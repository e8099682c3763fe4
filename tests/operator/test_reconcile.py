"""The whole operator on a cluster in memory: from a user's file to ready engines, by way of edits, failures, deaths."""

import itertools
import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pagelet_api import names
from pagelet_api.model_report import FailureReason, ModelFailure, ModelReport
from pagelet_operator.cluster.api import NamespaceEnds, Refused, Unreachable
from pagelet_operator.cluster.census_taker import CensusTaker
from pagelet_operator.cluster.store import ServiceKey, Store
from pagelet_operator.cluster.sync import Sync
from pagelet_operator.cluster.writer import LeaseLost, Writer
from pagelet_operator.metrics import Metrics
from pagelet_operator.reconcile import Reconciler, TryAgain, Unfinished
from pagelet_operator.release import Release

from .conftest import MODEL_FACTS
from .fake_cluster import GPU, FakeCluster, Object, is_ready

KEY = ServiceKey("team", "chat")
RELEASE = Release("engine@sha256:1", "gateway@sha256:1", "operator@sha256:1")


def manifest(**spec: Any) -> Object:
    return {
        "apiVersion": "pagelet.io/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": "chat", "namespace": "team"},
        "spec": {
            "model": {"source": {"pvc": {"claimName": "models"}}},
            "resources": {"limits": {GPU: 1, "memory": "60Gi"}},
            "gateway": {"replicas": 1},
            **spec,
        },
    }


class Died(BaseException):
    """The process ended in the middle of something."""


class Mortal(FakeCluster):
    """A cluster seen by an operator that dies before or after its k-th write."""

    dies_at = -1
    before = False
    count = 0

    def _store(self, obj: Object, verb: str | None) -> Object:
        if verb is None:
            return super()._store(obj, verb)
        return self._mortally(lambda: super(Mortal, self)._store(obj, verb))

    def remove(self, obj: Object) -> None:
        super().remove(obj)

    def _mortally(self, write: Any) -> Any:
        self.count += 1
        if self.count == self.dies_at and self.before:
            raise Died
        answer = write()
        if self.count == self.dies_at:
            raise Died
        return answer


class Held:
    """A lease that is held until a test takes it away."""

    remaining_s = 10.0


class Operator:
    """One process of the operator; watches tell it of changes when the test pumps them."""

    def __init__(self, cluster: FakeCluster, release: Release = RELEASE) -> None:
        self.cluster, self.store, self.metrics, self.lease = cluster, Store(), Metrics(), Held()
        self.events: list[tuple[str, Object]] = []
        cluster.watchers.append(lambda event, obj: self.events.append((event, obj)))
        self.sync = Sync(cluster, self.store, (), self.metrics, lambda key: None, cluster.clock)
        writer = Writer(cluster, self.store, self.lease, self.metrics)
        census_taker = CensusTaker(cluster, cluster.clock)
        self.reconciler = Reconciler(self.store, writer, census_taker, release, cluster.clock, "one")

    async def start(self) -> "Operator":
        await self.sync.fill()
        return self

    def pump(self) -> None:
        events, self.events = self.events, []
        for event, obj in events:
            self.sync.see(event, obj)

    async def look(self) -> float | None:
        """One reconcile, again while it asks to be run again at once."""
        for _ in range(20):
            try:
                return await self.reconciler.reconcile(KEY)
            except Unfinished:
                continue
            except TryAgain as again:
                if again.reason != "Conflict":
                    raise
        raise AssertionError("it never comes to rest")

    async def run(self, rounds: int = 80) -> None:
        """The operator and the cluster's controllers in turns, until nothing moves."""
        for _ in range(rounds):
            before = self.cluster._version
            self.pump()
            await self.look()
            self.cluster.settle()
            self.cluster.clock.now_s += 1
            if self.cluster._version == before:
                return
        raise AssertionError(f"no rest after {rounds} rounds: {self.cluster.writes[-10:]}")

    def status(self) -> Any:
        return self.cluster.objects["InferenceService", "team", "chat"]["status"]

    def condition(self, type_: str) -> Any:
        return next(c for c in self.status()["conditions"] if c["type"] == type_)

    def engines(self) -> list[Object]:
        component = names.LABEL_COMPONENT
        return [p for p in self.cluster.of_kind("Pod") if p["metadata"]["labels"].get(component) == "engine"]

    def engine_names(self) -> set[str]:
        return {pod["metadata"]["name"] for pod in self.engines()}


def found(_: Object) -> Object:
    return json.loads(ModelReport(facts=MODEL_FACTS).to_json())


def wrong_key(_: Object) -> Object:
    failure = ModelFailure(reason=FailureReason.WRONG_CREDENTIALS, message="key AKIA… is refused; correct the Secret")
    return json.loads(ModelReport(failure=failure).to_json())


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster(report=found)


async def served(cluster: FakeCluster, **spec: Any) -> Operator:
    """A service that is up."""
    cluster.user_applies(manifest(**spec))
    operator = await Operator(cluster).start()
    await operator.run()
    assert operator.condition("Available")["status"] == "True", operator.status()
    return operator


async def test_a_file_becomes_ready_engines_and_then_nothing_is_written_any_more(cluster: FakeCluster) -> None:
    operator = await served(cluster, replicas=2)
    assert len(operator.engines()) == 2
    assert operator.status()["ready"] == "2/2"
    assert operator.condition("ModelReady")["status"] == "True"
    assert operator.condition("Progressing")["reason"] == "Complete"
    writes = len(cluster.writes)
    for _ in range(5):
        cluster.clock.now_s += 700
        operator.pump()
        await operator.look()
    assert len(cluster.writes) == writes


async def test_no_engine_exists_before_the_model_is_known(cluster: FakeCluster) -> None:
    cluster.report = lambda job: {}
    cluster.user_applies(manifest())
    operator = await Operator(cluster).start()
    await operator.run()
    assert len(cluster.of_kind("Job")) == 1
    assert not cluster.of_kind("ReplicaSet")
    assert operator.condition("Progressing")["reason"] == "WaitingForModel"
    cluster.report = found
    await operator.run()
    assert operator.condition("Available")["status"] == "True"


async def test_a_model_that_cannot_be_had_is_told_and_tried_again(cluster: FakeCluster) -> None:
    cluster.report = wrong_key
    cluster.user_applies(manifest())
    operator = await Operator(cluster).start()
    await operator.run()
    ready = operator.condition("ModelReady")
    assert (ready["status"], ready["reason"]) == ("False", "WrongCredentials")
    assert "correct the Secret" in ready["message"]
    operator.pump()
    wake_in_s = await operator.look()
    assert wake_in_s
    cluster.report = found
    cluster.clock.now_s += wake_in_s
    await operator.run()
    assert operator.condition("Available")["status"] == "True"


async def test_a_restart_field_rolls_once_and_replicas_and_gateways_roll_nothing(cluster: FakeCluster) -> None:
    operator = await served(cluster, replicas=2)
    pods = operator.engine_names()
    cluster.user_applies(manifest(replicas=3, gateway={"replicas": 2}))
    await operator.run()
    assert operator.engine_names() > pods
    assert len(cluster.of_kind("ReplicaSet")) == 1
    cluster.user_applies(manifest(replicas=2, engine={"maxNumSeqs": 8}))
    await operator.run()
    assert len(operator.engines()) == 2
    assert not operator.engine_names() & pods
    assert len(cluster.of_kind("ReplicaSet")) == 1, "the old revision is gone with its objects"
    assert operator.condition("Progressing")["reason"] == "Complete"


async def test_a_child_that_was_deleted_or_edited_is_restored(cluster: FakeCluster) -> None:
    operator = await served(cluster)
    before = {name: obj["metadata"]["uid"] for name, obj in cluster.objects.items()}
    pods = operator.engine_names()
    for kind, namespace, name in list(before):
        if kind not in ("Pod", "Job", "InferenceService", "Event", "ReplicaSet"):
            cluster.remove(cluster.objects[kind, namespace, name])
            await operator.run()
            assert (kind, namespace, name) in cluster.objects
    assert operator.engine_names() == pods
    [replica_set] = cluster.of_kind("ReplicaSet")
    cluster.edit("ReplicaSet", replica_set["metadata"]["name"], lambda obj: obj["spec"].update(replicas=4))
    operator.pump()
    await operator.look()
    assert cluster.of_kind("ReplicaSet")[0]["spec"]["replicas"] == 1


async def test_what_belongs_to_others_is_left_alone_and_named(cluster: FakeCluster) -> None:
    theirs = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "chat", "namespace": "team"},
        "spec": {"selector": {"app": "theirs"}},
    }
    await cluster.create(theirs)
    cluster.writes.clear()
    cluster.user_applies(manifest())
    operator = await Operator(cluster).start()
    await operator.run()
    service = cluster.objects["Service", "team", "chat"]
    assert service["spec"]["selector"] == {"app": "theirs"}
    assert "Service/chat" in operator.condition("Degraded")["message"]
    assert await operator.look() is not None, "no watch will tell when it is gone"
    cluster.remove(service)
    await operator.run()
    assert operator.condition("Degraded")["status"] == "False"
    assert cluster.objects["Service", "team", "chat"]["spec"]["selector"] != {"app": "theirs"}


async def test_a_default_that_nobody_asked_for_stops_no_engine(cluster: FakeCluster) -> None:
    operator = await served(cluster, replicas=3)
    pods = operator.engine_names()
    released = manifest()
    cluster.user_applies(released)
    cluster.edit("InferenceService", "chat", lambda obj: obj["spec"].update(replicas=1))
    await operator.run()
    assert operator.engine_names() == pods
    # Nor does a rollout in the meantime change how many there are.
    cluster.user_applies(manifest(engine={"maxNumSeqs": 8}))
    cluster.edit("InferenceService", "chat", lambda obj: obj["spec"].update(replicas=1))
    await operator.run()
    assert len(operator.engines()) == 3
    cluster.user_applies(manifest(engine={"maxNumSeqs": 8}, suspend=True))
    await operator.run()
    assert not operator.engines()
    cluster.user_applies(manifest(engine={"maxNumSeqs": 8}, suspend=False))
    await operator.run()
    assert len(operator.engines()) == 3
    cluster.user_applies(manifest(engine={"maxNumSeqs": 8}, replicas=1))
    await operator.run()
    assert len(operator.engines()) == 1


async def test_a_refused_spec_changes_nothing_that_runs(cluster: FakeCluster) -> None:
    operator = await served(cluster)
    writes = len(cluster.writes)
    pods = operator.engine_names()
    cluster.user_applies(manifest(engine={"maxModelLen": 10**6}))
    await operator.run()
    accepted = operator.condition("Accepted")
    assert accepted["status"] == "False"
    assert "maxModelLen" in accepted["message"]
    assert operator.engine_names() == pods
    assert {verb for verb, kind, _ in cluster.writes[writes:] if kind != "Event"} == {"status"}
    cluster.user_applies(manifest())
    await operator.run()
    assert operator.condition("Accepted")["status"] == "True"
    assert operator.engine_names() == pods


async def test_a_spec_of_a_newer_release_is_not_understood_and_nothing_is_touched(cluster: FakeCluster) -> None:
    operator = await served(cluster)
    writes = len(cluster.writes)
    cluster.user_applies(manifest(pipelineParallelSize=2))
    await operator.run()
    accepted = operator.condition("Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "NotUnderstood")
    assert "pipelineParallelSize" in accepted["message"]
    assert {verb for verb, kind, _ in cluster.writes[writes:] if kind != "Event"} == {"status"}


async def test_the_api_servers_refusal_is_told_before_anything_is_changed(cluster: FakeCluster) -> None:
    operator = await served(cluster)
    pods, writes = operator.engine_names(), len(cluster.writes)

    def admission(obj: Object, dry_run: bool) -> Refused | None:
        if obj["kind"] == "ReplicaSet" and obj["spec"]["template"]["spec"].get("runtimeClassName") == "none":
            return Refused(403, "Forbidden", "RuntimeClass none is not allowed here")
        return None

    cluster.refuse = admission
    cluster.user_applies(manifest(podTemplate={"runtimeClassName": "none"}))
    await operator.run()
    accepted = operator.condition("Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "RefusedByApiServer")
    assert "RuntimeClass none is not allowed here" in accepted["message"]
    assert operator.engine_names() == pods
    assert {verb for verb, kind, _ in cluster.writes[writes:] if kind != "Event"} == {"status"}
    asked = len(cluster.dry_runs)
    operator.pump()
    assert await operator.look() == pytest.approx(60, abs=1)
    assert len(cluster.dry_runs) == asked, "a refusal is not asked for again at once"
    cluster.refuse = lambda obj, dry_run: None
    cluster.clock.now_s += 61
    await operator.run()
    assert operator.condition("Accepted")["status"] == "True"
    assert not operator.engine_names() & pods


async def test_status_is_written_even_when_applying_fails(cluster: FakeCluster) -> None:
    def quota(obj: Object, dry_run: bool) -> Refused | None:
        if obj["kind"] == "Deployment":
            return Refused(403, "Forbidden", "exceeded quota: count/deployments.apps=0")
        return None

    cluster.refuse = quota
    cluster.user_applies(manifest())
    operator = await Operator(cluster).start()
    for _ in range(8):
        operator.pump()
        with pytest.raises(TryAgain, match="exceeded quota"):
            await operator.look()
        cluster.settle()
    degraded = operator.condition("Degraded")
    assert "Deployment/chat-gateway" in degraded["message"]
    assert "exceeded quota" in degraded["message"]
    assert operator.engines(), "what does not depend on it goes on"
    cluster.refuse = lambda obj, dry_run: None
    await operator.run()
    assert operator.condition("Available")["status"] == "True"


async def test_an_api_server_that_is_away_fails_the_reconcile_and_nothing_else(cluster: FakeCluster) -> None:
    operator = await served(cluster)
    cluster.refuse = lambda obj, dry_run: Unreachable(0, "Unreachable", "connection refused")
    cluster.user_applies(manifest(replicas=2))
    operator.pump()
    with pytest.raises(TryAgain, match="connection refused"):
        await operator.look()
    cluster.refuse = lambda obj, dry_run: None
    await operator.run()
    assert len(operator.engines()) == 2


async def test_a_service_whose_namespace_ends_is_left_alone_and_its_successor_is_not(cluster: FakeCluster) -> None:
    operator = await served(cluster)
    asked: list[str] = []

    def lifecycle(obj: Object, dry_run: bool) -> NamespaceEnds | None:
        asked.append(obj["kind"])
        new = (obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"]) not in cluster.objects
        return NamespaceEnds(403, "Forbidden", "namespace team is being terminated") if new else None

    cluster.refuse = lifecycle
    for kind in ("Deployment", "NetworkPolicy", "ReplicaSet"):
        cluster.remove(cluster.of_kind(kind)[0])
        operator.pump()
        assert await operator.look() is None
    assert len(asked) == 1, "once is enough to know"
    cluster.remove(cluster.objects["InferenceService", "team", "chat"])
    operator.pump()
    assert await operator.look() is None
    cluster.refuse = lambda obj, dry_run: None
    cluster.user_applies(manifest())
    await operator.run()
    assert operator.condition("Available")["status"] == "True"


async def test_nothing_is_written_without_the_lease(cluster: FakeCluster) -> None:
    cluster.user_applies(manifest())
    operator = await Operator(cluster).start()
    operator.lease.remaining_s = 0
    with pytest.raises(LeaseLost):
        await operator.look()
    assert not cluster.writes


async def test_events_tell_of_transitions_once(cluster: FakeCluster) -> None:
    operator = await served(cluster)
    events = cluster.of_kind("Event")
    told = Counter((event["action"], event["reason"]) for event in events)
    assert told["Available", "Serving"] == 1
    assert told["Accepted", "Accepted"] == 1
    assert all(event["type"] == "Normal" for event in events)
    for event in events:
        assert event["regarding"]["name"] == "chat"
        assert event["reportingController"]
        assert len(event["note"]) <= 1024
    cluster.user_applies(manifest(suspend=True))
    await operator.run()
    suspended = [event for event in cluster.of_kind("Event") if event["reason"] == "Suspended"]
    assert len(suspended) == 1


async def test_a_waiting_engine_is_told_with_numbers_when_nodes_may_be_counted(cluster: FakeCluster) -> None:
    cluster.gpus = 0
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "node-1", "namespace": "", "labels": {"worker.gardener.cloud/pool": "gpu-a100"}},
        "status": {"allocatable": {GPU: "2"}},
    }
    cluster._store(node, None)
    cluster.user_applies(manifest())
    operator = await Operator(cluster).start()
    await operator.run()
    available = operator.condition("Available")
    assert available["reason"] == "Unschedulable"
    assert "gpu-a100" in available["message"]
    cluster.gpus = 2
    await operator.run()
    assert operator.condition("Available")["status"] == "True"


async def test_a_failing_revision_stops_after_one_pod_and_going_back_touches_no_good_pod(cluster: FakeCluster) -> None:
    operator = await served(cluster, replicas=2)
    good = operator.engine_names()
    cluster.broken = lambda pod: "ImagePullBackOff" if "bad" in pod["spec"]["containers"][0]["image"] else ""
    cluster.user_applies(manifest(replicas=2, engine={"image": "bad:1"}))
    await operator.run()
    assert len(operator.engines()) == 3
    assert {pod["metadata"]["name"] for pod in operator.engines() if is_ready(pod)} == good
    assert operator.condition("Available")["status"] == "True"
    assert operator.condition("Degraded")["reason"] == "ImagePull"
    cluster.user_applies(manifest(replicas=2))
    await operator.run()
    assert operator.engine_names() == good
    assert operator.condition("Degraded")["status"] == "False"


async def test_deleting_a_service_leaves_nothing_and_writes_nothing(cluster: FakeCluster) -> None:
    operator = await served(cluster)
    writes = len(cluster.writes)
    cluster.remove(cluster.objects["InferenceService", "team", "chat"])
    operator.pump()
    assert await operator.look() is None
    assert len(cluster.writes) == writes
    assert {kind for kind, _, _ in cluster.objects} <= {"Event"}


async def test_another_operator_takes_over_without_writing(cluster: FakeCluster) -> None:
    first = await served(cluster, replicas=2)
    writes = len(cluster.writes)
    second = await Operator(cluster).start()
    await second.look()
    assert len(cluster.writes) == writes
    assert first.status()["ready"] == "2/2"


async def test_an_upgrade_changes_gateways_and_no_engine(cluster: FakeCluster) -> None:
    first = await served(cluster)
    pods = first.engine_names()
    template = cluster.of_kind("ReplicaSet")[0]["spec"]["template"]
    newer = Release("engine@sha256:2", "gateway@sha256:2", "operator@sha256:2")
    second = await Operator(cluster, newer).start()
    await second.run()
    assert second.engine_names() == pods
    assert cluster.of_kind("ReplicaSet")[0]["spec"]["template"] == template
    [gateway] = cluster.of_kind("Deployment")
    assert gateway["spec"]["template"]["spec"]["containers"][0]["image"] == "gateway@sha256:2"
    cluster.user_applies(manifest(engine={"maxNumSeqs": 8}))
    await second.run()
    assert second.engines()[0]["spec"]["containers"][0]["image"] == "engine@sha256:2"


def outcome(operator: Operator) -> Any:
    """The end of a story: what exists, whatever its random names."""
    specs = {
        name: json.dumps(obj.get("spec", obj.get("data")), sort_keys=True)
        for name, obj in operator.cluster.objects.items()
        if name[0] not in ("Pod", "Event", "InferenceService")
    }
    conditions = [(c["type"], c["status"], c["reason"]) for c in operator.status()["conditions"]]
    return specs, conditions, len(operator.engines())


async def story(cluster: Mortal) -> tuple[Operator, int]:
    """Up, then a rollout; a new process whenever one dies. The operator that saw the end, and pods ever made."""
    made: set[str] = set()

    def count(event: str, obj: Object) -> None:
        if obj["kind"] == "Pod" and obj["metadata"]["labels"].get(names.LABEL_COMPONENT) == "engine":
            made.add(obj["metadata"]["uid"])

    cluster.watchers.append(count)
    operator = None
    for spec in ({"replicas": 2}, {"replicas": 2, "engine": {"maxNumSeqs": 8}}):
        cluster.user_applies(manifest(**spec))
        for _ in range(3):
            try:
                operator = operator or await Operator(cluster).start()
                await operator.run()
                break
            except Died:
                operator = None
    assert operator
    return operator, len(made)


async def test_dying_before_or_after_any_write_ends_the_same_way_with_no_pod_too_many() -> None:
    alive = Mortal(report=found)
    operator, pods = await story(alive)
    expected = outcome(operator)
    assert pods == 4
    assert alive.count > 20
    for dies_at, before in itertools.product(range(1, alive.count + 1), (True, False)):
        cluster = Mortal(report=found)
        cluster.dies_at, cluster.before = dies_at, before
        operator, pods = await story(cluster)
        assert outcome(operator) == expected, (dies_at, before)
        assert pods == 4, (dies_at, before)


@settings(max_examples=30, deadline=None)
@given(st.data())
async def test_late_watches_make_no_duplicate_and_undo_nothing(data: st.DataObject) -> None:
    cluster = FakeCluster(report=found)
    cluster.user_applies(manifest(replicas=2))
    operator = await Operator(cluster).start()
    edits = [manifest(replicas=3), manifest(replicas=2, engine={"maxNumSeqs": 8}), manifest(replicas=1)]
    for _ in range(40):
        # Any part of what happened is told of, the rest later.
        told = data.draw(st.integers(0, min(20, len(operator.events))))
        events, operator.events = operator.events[:told], operator.events[told:]
        for event, obj in events:
            operator.sync.see(event, obj)
        await operator.look()
        cluster.settle()
        cluster.clock.now_s += 1
        if edits and data.draw(st.booleans()):
            cluster.user_applies(edits.pop())
    cluster.user_applies(manifest(replicas=2))
    await operator.run()
    assert len(operator.engines()) == 2
    assert len(cluster.of_kind("ReplicaSet")) == 1
    assert operator.condition("Available")["status"] == "True"
