"""Scenarios 3 and 7: which edits roll the engines, which do not, and who says how many there are."""

import time

from e2e.manifests import condition
from e2e.operator_process import OperatorProcess
from e2e.scene import Scene


def replica_sets_ever(scene: Scene) -> int:
    """ReplicaSets that were made for the service, those that are gone included: each has an Event by its controller."""
    events = scene.kube.list("Event", scene.namespace)
    return len(
        {
            e["regarding"]["name"]
            for e in events
            if e["regarding"]["kind"] == "ReplicaSet" and "gateway" not in e["regarding"]["name"]
        }
    )


def test_a_restart_field_rolls_once_and_nothing_else_rolls(scene: Scene, operator: OperatorProcess) -> None:
    scene.apply(replicas=2)
    first = scene.wait_settled()["status"]["currentRevision"]
    pods = scene.engine_uids()
    assert len(pods) == 2

    scene.apply(replicas=2)
    scene.apply(replicas=3, gateway={"replicas": 2, "requestTimeout": "5m"})
    scene.wait_settled()
    assert scene.revision() == first
    assert scene.engine_uids() > pods
    scene.apply(replicas=2, gateway={"replicas": 1})
    scene.kube.wait("two engines", lambda: len(scene.engine_uids()) == 2, 30)

    scene.apply(replicas=2, engine={"maxNumSeqs": 8})
    scene.kube.wait("another revision", lambda: scene.revision() not in ("", first), 60, scene.account)
    scene.wait_settled()
    assert replica_sets_ever(scene) == 2
    assert not scene.engine_uids() & pods
    [left] = scene.kube.list("ReplicaSet", scene.namespace, labels="pagelet.io/component=engine")
    assert left["metadata"]["name"].endswith(scene.revision().rpartition("-")[2])


def test_ten_edits_in_a_second_make_at_most_two_rollouts(scene: Scene, operator: OperatorProcess) -> None:
    scene.apply()
    scene.wait_settled()
    for seqs in range(11, 21):
        scene.apply(engine={"maxNumSeqs": seqs})
    scene.wait_settled()
    assert replica_sets_ever(scene) <= 3
    [config_map] = [obj for obj in scene.children("ConfigMap") if obj["metadata"]["name"] == scene.revision()]
    assert '"maxNumSeqs": 20' in config_map["data"]["config.json"]


def test_kubectl_scale_zero_and_back(scene: Scene, operator: OperatorProcess) -> None:
    scene.apply()
    scene.wait_settled()
    scene.kube.scale("chat", scene.namespace, 3)
    scene.kube.wait("three engines", lambda: len(scene.engine_uids()) == 3, 30, scene.account)
    scene.wait_settled()
    assert scene.service()["status"]["replicas"] == 3
    scene.kube.scale("chat", scene.namespace, 0)
    scene.wait_condition("Available", "False", "ScaledToZero")
    assert not scene.engine_uids()
    scene.kube.scale("chat", scene.namespace, 1)
    scene.wait_settled()


def test_an_autoscaler_owns_replicas(scene: Scene, operator: OperatorProcess) -> None:
    scene.apply()
    scene.wait_settled()
    scene.kube.create(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "chat", "namespace": scene.namespace},
            "spec": {
                "scaleTargetRef": {"apiVersion": "pagelet.io/v1alpha1", "kind": "InferenceService", "name": "chat"},
                "minReplicas": 2,
                "maxReplicas": 4,
            },
        }
    )
    scene.kube.wait("two engines by the autoscaler", lambda: len(scene.engine_uids()) == 2, 60, scene.account)
    scene.wait_settled()
    assert scene.service()["spec"]["replicas"] == 2


def test_an_author_who_lets_go_of_replicas_drops_no_live_engine(scene: Scene, operator: OperatorProcess) -> None:
    scene.apply(replicas=3)
    scene.wait_settled()
    pods = scene.engine_uids()
    file = scene.service()
    spec = {"model": file["spec"]["model"], "resources": file["spec"]["resources"], "gateway": {"replicas": 1}}
    body = {key: file[key] for key in ("apiVersion", "kind")}
    body |= {"metadata": {"name": "chat", "namespace": scene.namespace}, "spec": spec}
    scene.kube.apply(body, manager="author")
    assert scene.service()["spec"]["replicas"] == 1  # nobody's: the schema's default
    generation = scene.service()["metadata"]["generation"]
    scene.kube.wait(
        "the operator's word on it",
        lambda: scene.service()["status"]["observedGeneration"] == generation,
        30,
    )
    time.sleep(3)  # nothing is what must happen; there is nothing else to wait for
    assert scene.engine_uids() == pods
    assert condition(scene.service(), "Available")["status"] == "True"
    # 1 is what the field says already, and the API server does not tell of a change that is none: by way of 2.
    scene.kube.scale("chat", scene.namespace, 2)
    scene.kube.wait("two engines", lambda: len(scene.engine_uids()) == 2, 30, scene.account)
    scene.kube.scale("chat", scene.namespace, 1)
    scene.kube.wait("one engine, as somebody now says so", lambda: len(scene.engine_uids()) == 1, 30, scene.account)


def test_suspension_takes_the_engines_and_leaves_the_rest(scene: Scene, operator: OperatorProcess) -> None:
    scene.apply()
    scene.wait_settled()
    scene.apply(suspend=True)
    scene.wait_condition("Available", "False", "Suspended")
    assert not scene.engine_uids()
    assert scene.children("Deployment")
    scene.apply(suspend=False)
    scene.wait_settled()
