"""Scenarios 12 and 13: releases come and go; engines that serve are no part of that."""

import json

import pytest

from e2e.cluster import Cluster
from e2e.cluster.layout import ROOT
from e2e.control.conftest import StartOperator
from e2e.operator_process import ENGINE_IMAGE
from e2e.scene import Scene, spec_of

NEXT_IMAGE = "pagelet-engine:9.9.9"
NEXT = {
    "program": ("e2e/control/next_release.py",),
    "arguments": ("--engine-image", NEXT_IMAGE),
}


def engine_objects(scene: Scene) -> dict[str, str]:
    kinds = ("ReplicaSet", "ConfigMap")
    return {
        f"{kind}/{obj['metadata']['name']}": spec_of(obj)
        for kind in kinds
        for obj in scene.children(kind)
        if obj["metadata"]["labels"].get("pagelet.io/component") == "engine"
    }


def test_a_new_release_changes_no_revision_that_exists(scene: Scene, start_operator: StartOperator) -> None:
    today = start_operator()
    scene.apply(replicas=2)
    scene.wait_settled()
    engines, pods = engine_objects(scene), scene.engine_uids()
    assert ENGINE_IMAGE in json.dumps(engines)
    today.stop()

    start_operator(**NEXT)
    scene.apply(replicas=3)
    scene.kube.wait("a third engine", lambda: len(scene.engine_uids()) == 3, 60, scene.account)
    scene.wait_settled()
    assert scene.engine_uids() > pods
    images = {pod["spec"]["containers"][0]["image"] for pod in scene.engines()}
    assert images == {ENGINE_IMAGE}, "a scaled old revision is still the old revision"
    scene.apply(replicas=2)
    scene.wait_settled()
    assert engine_objects(scene) == engines

    scene.apply(replicas=2, restartedAt="now")
    scene.kube.wait(
        "the new release's revision",
        lambda: {pod["spec"]["containers"][0]["image"] for pod in scene.engines()} == {NEXT_IMAGE},
        60,
        scene.account,
    )
    scene.wait_settled()


def test_pods_serve_without_an_operator(scene: Scene, start_operator: StartOperator) -> None:
    operator = start_operator()
    scene.apply(replicas=2)
    scene.wait_settled()
    pods = scene.engine_uids()
    operator.kill()
    victim = scene.engines()[0]["metadata"]["name"]
    scene.kube.delete("Pod", victim, scene.namespace, gracePeriodSeconds=0)
    # The ReplicaSet's own controller heals what the operator need not.
    scene.kube.wait("two engines without an operator", lambda: len(scene.engine_uids() - pods) == 1, 30)


@pytest.mark.timeout(300)
def test_helm_uninstall_keeps_what_serves_and_a_new_install_adopts_it(
    control: Cluster, scene: Scene, start_operator: StartOperator
) -> None:
    """The operator's own pods are played by kwok here; the one that works is a process beside them."""
    crd = "inferenceservices.pagelet.io"
    chart = (
        "pagelet",
        str(ROOT / "charts" / "pagelet"),
        "--namespace",
        "pagelet-system",
        "--create-namespace",
        "--wait",
    )
    # The tests' own copy of the CRD becomes the release's, as docs/installing.md says for one installed by hand.
    own = {"meta.helm.sh/release-name": "pagelet", "meta.helm.sh/release-namespace": "pagelet-system"}
    by_helm = {"labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": own}
    scene.kube.merge("CustomResourceDefinition", crd, "", {"metadata": by_helm})
    control.helm("install", *chart)
    operator = start_operator()
    scene.apply(replicas=2)
    scene.wait_settled()
    uid = scene.service()["metadata"]["uid"]
    engines, pods = engine_objects(scene), scene.engine_uids()
    operator.stop()
    control.helm("uninstall", "pagelet", "--namespace", "pagelet-system", "--wait")
    assert scene.kube.get("CustomResourceDefinition", crd)
    assert scene.service()["metadata"]["uid"] == uid
    assert scene.engine_uids() == pods
    control.helm("install", *chart)
    start_operator()
    scene.apply("another")
    scene.wait_settled("another")
    assert (engine_objects(scene), scene.engine_uids()) == (engines, pods)
    control.helm("uninstall", "pagelet", "--namespace", "pagelet-system", "--wait")
