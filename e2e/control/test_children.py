"""Scenarios 2 and 12: children are what the operator says, no more and no less; and they go with their service."""

from pagelet_operator.plan import APPLIED_HASH_ANNOTATION

from e2e.operator_process import OperatorProcess
from e2e.scene import Scene

KINDS = ("ConfigMap", "Deployment", "ReplicaSet", "Service", "ServiceAccount", "NetworkPolicy", "Job")


def rendered(scene: Scene) -> dict[tuple[str, str], str]:
    """What the operator applied, by the hash that it leaves on each object."""
    return {
        (kind, obj["metadata"]["name"]): obj["metadata"]["annotations"][APPLIED_HASH_ANNOTATION]
        for kind in KINDS
        for obj in scene.children(kind)
        if APPLIED_HASH_ANNOTATION in obj["metadata"].get("annotations", {})
    }


def test_a_child_that_was_deleted_comes_back(scene: Scene, operator: OperatorProcess) -> None:
    scene.apply()
    scene.wait_settled()
    before = rendered(scene)
    assert {kind for kind, _ in before} == set(KINDS)
    for kind, name in before:
        if kind != "Job":  # done and known: nobody needs it any more
            uid = scene.kube.get(kind, name, scene.namespace)["metadata"]["uid"]
            scene.kube.delete(kind, name, scene.namespace)

            def is_back(kind: str = kind, name: str = name, uid: str = uid) -> bool:
                found = scene.kube.get(kind, name, scene.namespace)
                return found is not None and found["metadata"]["uid"] != uid

            scene.kube.wait(f"{kind}/{name} again", is_back, 30, operator.last_words)
    scene.wait_settled()
    assert rendered(scene) == before


def test_a_child_that_was_edited_is_restored_and_what_others_own_is_left_alone(
    scene: Scene, operator: OperatorProcess
) -> None:
    scene.apply()
    scene.wait_settled()
    kube, namespace = scene.kube, scene.namespace
    [deployment] = scene.children("Deployment")
    name = deployment["metadata"]["name"]
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    edited = {"metadata": {"annotations": {"example.org/note": "mine"}}, "spec": {"paused": True}}
    kube.merge("Deployment", name, namespace, edited)
    kube.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"template": {"spec": {"containers": [{"name": container["name"], "image": "elsewhere:1"}]}}},
        },
        manager="vandal",
    )

    def restored() -> bool:
        live = kube.get("Deployment", name, namespace)
        return live["spec"]["template"]["spec"]["containers"][0]["image"] == container["image"]

    kube.wait("the image as it was", restored, 30, operator.last_words)
    live = kube.get("Deployment", name, namespace)
    assert live["metadata"]["annotations"]["example.org/note"] == "mine"
    assert live["spec"]["paused"] is True

    [replica_set] = scene.kube.list("ReplicaSet", namespace, labels="pagelet.io/component=engine")
    kube.merge("ReplicaSet", replica_set["metadata"]["name"], namespace, {"spec": {"replicas": 3}})

    def one_replica() -> bool:
        live = kube.get("ReplicaSet", replica_set["metadata"]["name"], namespace)
        return live["spec"]["replicas"] == 1

    kube.wait("one replica again", one_replica, 30)


def test_deleting_the_service_leaves_nothing(scene: Scene, operator: OperatorProcess) -> None:
    scene.apply()
    scene.wait_settled()
    scene.kube.delete("InferenceService", "chat", scene.namespace)

    def left() -> list[str]:
        return [f"{kind}/{obj['metadata']['name']}" for kind in (*KINDS, "Pod") for obj in scene.children(kind)]

    scene.kube.wait("nothing left", lambda: not left(), 60, lambda: str(left()))


def test_a_namespace_that_ends_takes_its_service_and_the_operator_does_not_resist(
    scene: Scene, operator: OperatorProcess
) -> None:
    scene.apply()
    scene.wait_settled()
    forbidden = ("pagelet_operator_reconcile_errors_total", 'reason="Forbidden"')
    repeated = operator.metric(*forbidden)
    scene.kube.delete("Namespace", scene.namespace)
    scene.kube.wait("its end", lambda: scene.kube.get("Namespace", scene.namespace) is None, 60, scene.account)
    assert operator.metric(*forbidden) == repeated, operator.last_words()


def test_an_object_of_somebody_else_is_never_taken_over(scene: Scene, operator: OperatorProcess) -> None:
    theirs = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "chat", "namespace": scene.namespace},
        "spec": {"ports": [{"port": 80}], "selector": {"app": "theirs"}},
    }
    uid = scene.kube.create(theirs)["metadata"]["uid"]
    scene.apply()
    degraded = scene.wait_condition("Degraded")
    assert "Service/chat" in degraded["message"]
    live = scene.kube.get("Service", "chat", scene.namespace)
    assert (live["metadata"]["uid"], live["spec"]["selector"]) == (uid, {"app": "theirs"})
    scene.kube.delete("Service", "chat", scene.namespace)
    scene.wait_settled()
