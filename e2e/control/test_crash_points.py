"""Scenario 8: the operator dies before and after each of its writes in a rollout, and nobody can tell afterwards."""

import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from e2e.control.conftest import StartOperator, namespace_with_models
from e2e.control.mortal_operator import DEATH
from e2e.kube import Kube
from e2e.manifests import GPU_ENGINE
from e2e.operator_process import OperatorProcess
from e2e.scene import Scene

REPLICAS = 2
MOST_WRITES = 40
"""A rollout that takes more is a hot loop."""
LANES = 2


def pods_made(scene: Scene) -> dict[str, int]:
    """How many pods each engine ReplicaSet has made, those that are gone included, by its controller's own Events."""
    made: dict[str, int] = {}
    for event in scene.kube.list("Event", scene.namespace):
        regarding = event["regarding"]
        if event.get("reason") == "SuccessfulCreate" and regarding["kind"] == "ReplicaSet":
            series = (event.get("series") or {}).get("count") or event.get("deprecatedCount") or 1
            made[regarding["name"]] = made.get(regarding["name"], 0) + series
    return made


class Lane:
    """One namespace with one service, whose operator is killed again and again."""

    def __init__(self, kube: Kube, namespace: str, start: StartOperator, folder: Path) -> None:
        self.scene = Scene(kube, namespace, GPU_ENGINE)
        self._start = start
        self._armed = folder / f"{namespace}.armed"
        self._edits = 0

    def rollout_with_death(self, write: int, when: str) -> bool:
        """A rollout in which the operator dies at this write, and another takes over; False: it had fewer writes."""
        mortal = self._operator(write, when)
        if not self._edits:
            self._edit()
        self.scene.wait_settled(timeout_s=90)
        before = self.scene.revision()
        self._armed.touch()
        self._edit()
        died = self._wait_for_death_or_rest(mortal, before)
        self._armed.unlink()
        if died:
            self._forget_lease()
            mortal = self._operator(0, "never")
            self.scene.wait_settled(timeout_s=90)
        self._check(f"death {when} write {write}")
        mortal.stop()
        return died

    def _edit(self) -> None:
        self._edits += 1
        self.scene.apply(replicas=REPLICAS, engine={"maxNumSeqs": 10 + self._edits})

    def _operator(self, write: int, when: str) -> OperatorProcess:
        self._forget_lease()
        return self._start(
            program=("e2e/control/mortal_operator.py",),
            arguments=("--namespace", self.scene.namespace, "--lease-namespace", self.scene.namespace),
            environment={"MORTAL_WRITE": str(write), "MORTAL_WHEN": when, "MORTAL_ARMED": str(self._armed)},
        )

    def _forget_lease(self) -> None:
        """The dead leader's Lease; waiting for it is another test's."""
        for lease in self.scene.kube.list("Lease", self.scene.namespace):
            self.scene.kube.delete("Lease", lease["metadata"]["name"], self.scene.namespace)

    def _wait_for_death_or_rest(self, mortal: OperatorProcess, before: str) -> bool:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            if not mortal.alive:
                assert mortal.wait(1) == DEATH, mortal.last_words()
                return True
            service = self.scene.service() or {}
            status = service.get("status", {})
            current = status.get("observedGeneration") == service["metadata"]["generation"]
            progressing = [c for c in status.get("conditions", ()) if c["type"] == "Progressing"]
            if current and status.get("currentRevision") != before and progressing[0]["status"] == "False":
                try:
                    mortal.wait(2)
                except subprocess.TimeoutExpired:
                    return False
            time.sleep(0.1)
        raise AssertionError(f"neither death nor rest\n{self.scene.account()}\n{mortal.last_words()}")

    def _check(self, what: str) -> None:
        """As after any rollout: the newest revision has its pods, each made once, and nothing else is left."""
        scene = self.scene
        revision = scene.revision()
        assert len(scene.engine_uids()) == REPLICAS, what
        scene.kube.wait(
            f"one ReplicaSet after {what}",
            lambda: len(scene.kube.list("ReplicaSet", scene.namespace, labels="pagelet.io/component=engine")) == 1,
            30,
        )
        assert pods_made(scene)[revision] == REPLICAS, (what, pods_made(scene))
        [config_map] = [
            obj
            for obj in scene.children("ConfigMap")
            if obj["metadata"]["labels"].get("pagelet.io/component") == "engine"
        ]
        assert config_map["metadata"]["name"] == revision
        assert f'"maxNumSeqs": {10 + self._edits}' in config_map["data"]["config.json"], what


@pytest.fixture
def lanes(kube: Kube, start_operator: StartOperator, tmp_path: Path) -> Iterator[list[Lane]]:
    names = [f"crash-{number}-{time.time_ns() // 10**6 % 10**7}" for number in range(LANES)]
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(namespace_with_models(kube, name))
        yield [Lane(kube, name, start_operator, tmp_path) for name in names]


@pytest.mark.timeout(1500)
def test_a_death_at_any_write_changes_nothing_in_the_end(lanes: list[Lane], capsys: Any) -> None:
    points = [(write, when) for write in range(1, MOST_WRITES + 1) for when in ("before", "after")]

    def walk(number: int) -> int:
        for write, when in points[number::LANES]:
            if not lanes[number].rollout_with_death(write, when):
                return write - 1
        raise AssertionError(f"a rollout of {REPLICAS} replicas takes more than {MOST_WRITES} writes")

    with ThreadPoolExecutor(LANES) as pool:
        counts = list(pool.map(walk, range(LANES)))
    with capsys.disabled():
        print(f"\n  a rollout of {REPLICAS} replicas: {max(counts)} writes; died before and after each")
    assert min(counts) >= 5
